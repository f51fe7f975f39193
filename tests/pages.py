"""Hands and eyes for tests of the page: open it, move sliders, look at pixels."""

import base64
import struct
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from fakes import FakeModels, FakeSession

from hfgi_app import images
from hfgi_app.types import EditRecipe

READY = "#studio[aria-busy=false][data-sharp=true]"
CONTRASTS = """() => {
  const light = (text) => {
    const [red, green, blue] = text.match(/[\\d.]+/g).map((each) => {
      const part = each / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (each) => { const colour = getComputedStyle(each).backgroundColor;
    return colour !== "rgba(0, 0, 0, 0)" ? colour : behind(each.parentElement); };
  const parts = "h1 .model h2 .row>label .row>input[type=text] .hint .privacy .note .primary .link .open"
    + " legend .methods>label";
  return Object.fromEntries(parts.split(" ").map((part) => {
    const each = document.querySelector("#studio " + part);
    const [low, high] = [light(getComputedStyle(each).color), light(behind(each))].sort((one, other) => one - other);
    return [part, (high + 0.05) / (low + 0.05)]; }));
}"""


@contextmanager
def browsing(chromium, url: str, context=None, **options):
    """A page of its own, loaded and showing the example. Fails on script errors and on requests to anywhere else.

    context: one to share what the browser stores; without it, the page has one to itself.
    """
    own = context or chromium.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
    page = own.new_page()
    page.set_default_timeout(60_000)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    home = url.split("?")[0]
    page.on("request", lambda request: request.url.startswith((home, "data:", "blob:")) or faults.append(request.url))
    try:
        page.goto(url)
        page.wait_for_selector(READY)
        paint(page)
        yield page
    finally:
        page.close() if context else own.close()
    assert not faults


def portrait(colour: tuple[int, int, int] = (100, 100, 100), size: tuple[int, int] = (480, 400)) -> np.ndarray:
    """A soft ramp around one colour: survives JPEG almost exactly."""
    height, width = size
    ramp = np.linspace(-20, 20, height)[:, None, None] + np.linspace(-20, 20, width)[None, :, None]
    return (np.array(colour) + ramp).clip(0, 255).astype(np.uint8)


def upload(page, data: bytes) -> None:
    page.set_input_files('[data-part="file"]', {"name": "mine.png", "mimeType": "image/png", "buffer": data})


def use_recipe(page, data: bytes, name: str = "edited.png") -> None:
    page.set_input_files('[data-part="recipe"]', {"name": name, "mimeType": "", "buffer": data})
    rest(page)


def ask_for(page, target: str, neutral: str = "face") -> None:
    """Type a prompt."""
    page.fill('[data-part="neutral"]', neutral)
    page.fill('[data-part="target"]', target)
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-part="prompt"][aria-busy=false]')
    rest(page)


def open_photo(page, photo: np.ndarray) -> None:
    upload(page, images.encode(photo, "PNG"))
    page.wait_for_selector("#studio[aria-busy=true]")
    page.wait_for_selector(READY)
    paint(page)


def pixels(page, canvas: str = '[data-part="canvas"]') -> np.ndarray:
    """What a canvas shows, H x W x 3; by default the picture's."""
    size, data = page.evaluate(
        """(canvas) => { const c = document.querySelector("#studio " + canvas);
            const bytes = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let text = "";
            for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
            return [[c.height, c.width], btoa(text)]; }""",
        canvas,
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(*size, 4)[..., :3].astype(int)


def centre(page) -> np.ndarray:
    shown = pixels(page)
    height, width = shown.shape[:2]
    return shown[int(0.4 * height) : int(0.5 * height), int(0.45 * width) : int(0.55 * width)].mean((0, 1))


def slide(page, row: str, value: float) -> None:
    """Set a slider as a hand does: it moves, then rests."""
    page.eval_on_selector(
        f'{row} input[type="range"]',
        """(range, value) => { range.value = value; range.dispatchEvent(new Event("input", {bubbles: true}));
            range.dispatchEvent(new Event("change", {bubbles: true})); }""",
        value,
    )
    rest(page)


def rest(page) -> None:
    """Wait until the whole picture is there."""
    page.wait_for_timeout(200)
    page.wait_for_selector(READY)
    paint(page)


def paint(page) -> None:
    """Wait until the canvas shows what it was told to."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def visible_rows(page) -> list[str]:
    """Names of the sliders in sight, from the top."""
    return page.eval_on_selector_all(
        ".sliders .row[data-name]", "rows => rows.filter((row) => row.checkVisibility()).map((row) => row.dataset.name)"
    )


def drag(page, row: str, seconds: float = 0.5, stop: float = 0.9) -> None:
    """Take the knob from the left to `stop` of the track, and hold it there."""
    box = page.locator(f'{row} input[type="range"]').bounding_box()
    y, steps = box["y"] + box["height"] / 2, max(2, int(60 * seconds))
    page.mouse.move(box["x"] + 0.1 * box["width"], y)
    page.mouse.down()
    for step in range(1, steps + 1):
        page.mouse.move(box["x"] + (0.1 + (stop - 0.1) * step / steps) * box["width"], y)
        page.wait_for_timeout(1000 / 60)


def download(page) -> bytes:
    with page.expect_download() as waiting:
        page.click("text=Download")
    assert waiting.value.suggested_filename.endswith("-edited.png")
    return Path(waiting.value.path()).read_bytes()


def rendered(photo: np.ndarray, recipe: EditRecipe) -> np.ndarray:
    session = FakeSession(FakeModels())
    session.open(photo)
    return session.render(recipe).astype(int)


def face(photo: np.ndarray, red: float) -> np.ndarray:
    """The face square alone, at so much red."""
    session = FakeSession(FakeModels())
    session.open(photo)
    return session.preview(EditRecipe((("tone/red", red),))).astype(int)


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def visit(page) -> str:
    """The page's secret."""
    return page.get_attribute("#studio", "data-visit")


def has_photo(studio: str, token: str) -> bool:
    answer = httpx.post(f"{studio}studio/picture", json={"sequence": 10**6, "recipe": {}}, headers={"X-Visit": token})
    assert answer.status_code in (200, 410)
    return answer.status_code == 200


def message(page) -> str:
    page.wait_for_selector('[data-part="alert"]:visible')
    return page.text_content('[data-part="message"]')


def drop(page, data: bytes, kind: str) -> None:
    """Drop or paste a file on the page."""
    page.evaluate(
        """([text, kind]) => {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0)), carried = new DataTransfer();
            carried.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
            document.querySelector("#studio .stage").dispatchEvent(kind === "drop"
                ? new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: carried, bubbles: true})); }""",
        [base64.b64encode(data).decode(), kind],
    )


def huge() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
