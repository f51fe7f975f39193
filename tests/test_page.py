"""The page in a real Chromium, with fake models: quick, and every edit is plain to see in the pixels."""

import json
import shutil
from pathlib import Path

import fakes
import httpx
import numpy as np
import pytest
from fakes import ROOT
from pages import (
    CONTRASTS,
    ask_for,
    browsing,
    centre,
    download,
    drag,
    drop,
    face,
    has_photo,
    huge,
    message,
    open_photo,
    paint,
    pixels,
    portrait,
    rendered,
    rest,
    slide,
    upload,
    use_recipe,
    visible_rows,
    visit,
    wait_for,
)

from hfgi_app import images
from hfgi_app.prompts import Prompt
from hfgi_app.types import EditRecipe

pytestmark = pytest.mark.browser

SMILE = '[data-name="interfacegan/smile"]'
LOOK = '[data-name="looks/look_7"]'
COMPARED = "#studio[data-compared=true]"
PICTURE = '[data-part="canvas"]'
TYPED = '[data-name="face -> red face"]'
RED, GREEN = '[data-name="tone/red"]', '[data-name="tone/green"]'


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def temp(tmp_path_factory):
    """The only folder in which the server may write."""
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def studio(temp, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for index, light in enumerate((90, 120)):
        images.write(folder / f"portrait-{index}.jpg", portrait((light, 100, 80)))
    with fakes.running(Path(fakes.__file__), str(folder), temp=temp) as url:
        yield url


@pytest.fixture(scope="module")
def tab(chromium, studio):
    """One page for most tests: loading Gradio's own script is what takes time."""
    with browsing(chromium, studio) as page:
        yield page


@pytest.fixture
def page(tab):
    """That page with a photo just opened, every slider at home, its method the first and nothing typed."""
    while tab.locator(".typed .remove").count():
        tab.click(".typed .remove")
    if tab.is_enabled("text=Reset all"):
        tab.click("text=Reset all")
    tab.check('.methods input[value="hfgi"]')
    open_photo(tab, portrait())
    return tab


# --- the first look --------------------------------------------------------------------------------------------------


def test_the_page_opens_on_an_edited_example(tab):
    assert tab.title() == "HFGI Studio"
    assert tab.is_visible("text=Drag a slider, or open your own photo.")
    assert tab.is_visible("text=Photos stay in memory")
    assert tab.is_visible("text=Adds light instead of age")
    assert tab.input_value(f'{RED} input[type="text"]') == "\u22123.0"
    assert np.abs(centre(tab) - (90 - 30, 100, 80)).max() < 8


def test_every_control_has_a_name_and_the_keyboard_moves_sliders(page):
    ask_for(page, "red face")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("#studio button, #studio input")].filter((each) =>
            !each.labels?.length && !each.ariaLabel && !each.textContent.trim()).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    slide(page, TYPED, 0)
    before = centre(page)
    page.focus(f'{GREEN} input[type="range"]')
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    rest(page)
    assert page.input_value(f'{GREEN} input[type="text"]') == "+1.0"
    assert 7 < (centre(page) - before)[1] < 13


def test_light_and_dark_follow_the_system_and_can_be_read(chromium, studio, tab):
    with browsing(chromium, studio, color_scheme="dark") as dark:
        for page, wall in ((tab, "rgb(230, 230, 230)"), (dark, "rgb(18, 18, 18)")):
            assert page.evaluate("getComputedStyle(document.querySelector('#studio .stage')).backgroundColor") == wall
            contrasts = page.evaluate(CONTRASTS)
            assert min(contrasts.values()) >= 4.5, contrasts


def test_on_a_phone_the_picture_stays_in_view_above_the_sliders(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator('[data-name="keep"]').scroll_into_view_if_needed()
    picture, row = page.locator(PICTURE).bounding_box(), page.locator('[data-name="keep"]').bounding_box()
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert 0 <= picture["y"] < picture["y"] + picture["height"] <= row["y"]
    assert 250 < picture["height"] <= 422
    assert width == 390


def test_on_a_phone_the_methods_are_compared_within_the_picture(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.keyboard.press("c")
    page.wait_for_selector(COMPARED)
    stage, tiles = page.locator(".stage").bounding_box(), page.locator(".tile").all()
    boxes = [tile.bounding_box() for tile in tiles]
    page.click('[data-view="wipe"]')
    pair = page.locator(".pair .picture").bounding_box()
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert all(0 <= box["x"] < box["x"] + box["width"] <= 390 for box in [*boxes, pair])
    assert min(box["width"] for box in boxes) > 96
    assert stage["y"] < pair["y"] < pair["y"] + pair["height"] <= stage["y"] + stage["height"]


# --- editing ---------------------------------------------------------------------------------------------------------


def test_the_picture_changes_while_the_slider_moves_and_is_whole_once_it_rests(page):
    assert np.abs(pixels(page) - portrait()).max() < 6
    drag(page, RED)
    value = float(page.input_value(f'{RED} input[type="range"]'))
    assert value > 2
    wait_for(lambda: np.abs(centre(page) - (100 + 10 * value, 100, 100)).max() < 8)
    assert page.get_attribute("#studio", "data-sharp") == "false"
    live = pixels(page)
    page.mouse.up()
    rest(page)
    expected = rendered(portrait(), EditRecipe((("tone/red", value),)))
    assert np.abs(pixels(page) - expected).max() < 8
    # The live frame is the same picture to within what JPEG and 256 pixels of face lose: same place, same feather.
    assert np.abs(live - expected).max() < 14
    assert np.abs(live - expected).mean() < 1.5


def test_zero_is_the_photo_again_by_double_click_button_value_and_all_at_once(page):
    photo = pixels(page)
    ways = (
        lambda: page.dblclick(f"{RED} label"),
        lambda: page.click(f"{RED} .home"),
        lambda: (page.fill(f'{RED} input[type="text"]', "0"), page.keyboard.press("Enter")),
        lambda: page.click("text=Reset all"),
    )
    for way in ways:
        slide(page, RED, 3)
        assert np.abs(pixels(page) - photo).max() > 20
        way()
        rest(page)
        assert np.array_equal(pixels(page), photo)


def test_a_value_can_be_typed(page):
    page.fill(f'{GREEN} input[type="text"]', "-2,5")
    page.keyboard.press("Enter")
    rest(page)
    assert page.input_value(f'{GREEN} input[type="range"]') == "-2.5"
    assert page.input_value(f'{GREEN} input[type="text"]') == "\N{MINUS SIGN}2.5"
    page.click('[data-group="light"] summary')
    page.fill('[data-name="light/exposure"] input[type="text"]', "nonsense")
    page.keyboard.press("Enter")
    assert page.input_value('[data-name="light/exposure"] input[type="text"]') == "0\N{DEGREE SIGN}"
    page.click('[data-group="light"] summary')


def test_undo_and_redo_by_key_and_by_button(page):
    shown = [pixels(page)]
    for row, value in ((RED, 2), (GREEN, 3)):
        slide(page, row, value)
        shown.append(pixels(page))
    page.keyboard.press("Control+z")
    rest(page)
    assert np.array_equal(pixels(page), shown[1])
    page.click('[aria-label="Undo"]')
    rest(page)
    assert np.array_equal(pixels(page), shown[0])
    assert page.is_disabled('[aria-label="Undo"]')
    page.keyboard.press("Control+Shift+z")
    page.click('[aria-label="Redo"]')
    rest(page)
    assert np.array_equal(pixels(page), shown[2])
    assert page.is_disabled('[aria-label="Redo"]')


def test_the_wipe_shows_the_photo_on_its_left(page):
    photo = pixels(page)
    slide(page, RED, 4)
    edited = pixels(page)
    page.click("text=Wipe")
    paint(page)
    half = photo.shape[1] // 2
    assert np.array_equal(pixels(page)[:, : half - 2], photo[:, : half - 2])
    assert np.array_equal(pixels(page)[:, half + 2 :], edited[:, half + 2 :])
    box = page.locator(PICTURE).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    paint(page)
    assert np.array_equal(pixels(page)[:, : int(1.4 * half)], photo[:, : int(1.4 * half)])
    assert page.is_visible("text=Before")
    page.keyboard.press("w")
    paint(page)
    assert np.array_equal(pixels(page), edited)


def test_the_photo_shows_while_space_or_the_button_is_held(page):
    photo = pixels(page)
    slide(page, RED, 4)
    edited = pixels(page)
    for down, up in (
        (lambda: page.keyboard.down(" "), lambda: page.keyboard.up(" ")),
        (lambda: (page.hover("text=Hold to compare"), page.mouse.down()), page.mouse.up),
    ):
        down()
        paint(page)
        assert np.array_equal(pixels(page), photo)
        up()
        paint(page)
        assert np.array_equal(pixels(page), edited)


def test_the_download_is_the_whole_photo_with_its_recipe(page):
    photo = portrait(size=(600, 500))
    open_photo(page, photo)
    slide(page, RED, 2)
    slide(page, '[data-name="keep"]', 0.5)
    page.check('input[value="e4e"]')
    data = download(page)
    recipe = EditRecipe.from_json(images.read_recipe(data))
    assert recipe == EditRecipe((("tone/red", 2.0),), method="e4e", keep=0.5)
    assert np.array_equal(images.read(data), rendered(photo, recipe))


# --- many sliders ----------------------------------------------------------------------------------------------------


def test_groups_fold_and_the_keyboard_opens_them(page):
    assert page.is_visible(RED)  # the first group is open, all others are folded
    assert page.is_hidden('[data-name="light/exposure"]')
    assert page.is_hidden(LOOK)
    page.focus('[data-group="looks"] summary')
    page.keyboard.press("Enter")
    assert page.is_visible(LOOK)
    slide(page, LOOK, 4)
    page.click('[data-group="looks"] summary')
    assert page.is_hidden(LOOK)
    assert "edited" in page.get_attribute('[data-group="looks"]', "class")


def test_the_search_finds_sliders_in_folded_groups(page):
    page.keyboard.press("/")
    page.keyboard.type("look 12")
    assert visible_rows(page) == ["looks/look_12"]
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    rest(page)
    assert page.input_value('[data-name="looks/look_12"] input[type="text"]') == "+1"
    page.fill('[type="search"]', "tone")  # a group by its name
    assert visible_rows(page) == ["tone/red", "tone/green", "tone/blue"]
    page.fill('[type="search"]', "nothing of the kind")
    assert page.is_visible("text=No slider has that name.")
    page.keyboard.press("Escape")
    assert page.is_visible(RED)
    assert page.is_hidden(LOOK)


def test_favourites_come_first_and_stay(chromium, studio):
    context = chromium.new_context()
    with browsing(chromium, studio, context=context) as page:
        page.fill('[type="search"]', "look 7")
        page.click(f"{LOOK} .star")
        page.fill('[type="search"]', "")
        assert visible_rows(page)[0] == "looks/look_7"
        slide(page, LOOK, 5)
        assert page.input_value(f'{LOOK} input[type="text"]') == "+5"
    with browsing(chromium, studio, context=context) as page:
        assert visible_rows(page)[0] == "looks/look_7"
        page.click(f"{LOOK} .star")
        names = page.eval_on_selector_all('[data-group="looks"] .row', "rows => rows.map((row) => row.dataset.name)")
        assert names == [f"looks/look_{number}" for number in range(1, 61)]
    context.close()


# --- typed prompts ---------------------------------------------------------------------------------------------------


def test_a_typed_prompt_becomes_a_live_slider(page):
    photo = pixels(page)
    page.keyboard.press("t")
    page.keyboard.type("red  face")
    page.keyboard.press("Enter")
    page.wait_for_selector(TYPED)
    rest(page)
    assert page.input_value(f'{TYPED} input[type="text"]') == "+1.0"  # to be seen at once
    assert page.evaluate("document.activeElement.ariaLabel") == "red face, strength"
    assert np.abs(centre(page) - (120, 104, 104)).max() < 8
    drag(page, TYPED)
    wait_for(lambda: centre(page)[0] > 125)
    page.mouse.up()
    rest(page)
    value = float(page.input_value(f'{TYPED} input[type="range"]'))
    assert value > 1.3
    recipe = EditRecipe(prompts=(Prompt("face", "red face", value),))
    assert EditRecipe.from_json(images.read_recipe(download(page))) == recipe
    assert np.abs(pixels(page) - rendered(portrait(), recipe)).max() < 8
    assert page.input_value('[data-part="target"]') == ""
    page.dblclick(f"{TYPED} label")
    rest(page)
    assert np.array_equal(pixels(page), photo)


def test_a_typed_prompt_can_be_removed_and_comes_back_by_undo(page):
    photo = pixels(page)
    ask_for(page, "face -> red face", neutral="anything")  # all in one field
    edited = pixels(page)
    page.click('[aria-label="Remove red face"]')
    rest(page)
    assert page.locator(TYPED).count() == 0
    assert np.array_equal(pixels(page), photo)
    page.keyboard.press("Escape")
    page.click('[aria-label="Undo"]')
    rest(page)
    assert page.input_value(f'{TYPED} input[type="text"]') == "+1.0"
    assert np.array_equal(pixels(page), edited)
    page.click("text=Reset all")
    rest(page)
    assert page.input_value(f'{TYPED} input[type="text"]') == "0.0"
    assert np.array_equal(pixels(page), photo)


def test_a_prompt_can_be_made_stricter(page):
    ask_for(page, "red face")
    block = page.locator(f".typed:has({TYPED})")
    assert block.locator("output").text_content() == "13 channels"
    loose = centre(page)
    block.locator(".strict input").fill("1")
    block.get_by_text("1 channel", exact=True).wait_for()
    rest(page)
    assert (loose - centre(page))[1] > 2  # green stays as it was
    assert EditRecipe.from_json(images.read_recipe(download(page))).prompts[0].beta == 0.4
    page.keyboard.press("Control+z")
    rest(page)
    assert block.locator("output").text_content() == "13 channels"
    assert np.abs(centre(page) - loose).max() < 1


def test_what_else_changed_is_told_when_the_hand_rests(page):
    ask_for(page, "red face")
    page.wait_for_selector(".changes:not(.stale) li")
    said = [line.split("\n") for line in page.locator(".changes li").all_inner_texts()]
    minus = "\N{MINUS SIGN}25%"
    assert ["".join(line) for line in said] == ["red face+80%", "light+50%", f"smile{minus}"]
    page.click("text=Reset all")
    rest(page)
    assert page.is_hidden(".changes")


@pytest.mark.parametrize(
    ("neutral", "target", "words"),
    [
        ("face", "wizard", "does not know: wizard; it knows face, smiling, red, green, blue."),
        ("face", "Face", "on both sides"),
        ("face", "red " * 80, "319 characters"),
        ("face", "", "no words after the arrow"),
        ("face", "<img src=x onerror=alert(1)>", "leave it out"),
    ],
)
def test_a_prompt_that_cannot_be_followed_gets_one_sentence_and_stays(page, neutral, target, words):
    ask_for(page, target, neutral)
    assert words in page.text_content('[data-part="refusal"]')
    assert page.input_value('[data-part="target"]') == target
    assert page.locator(".typed").count() == 0
    page.fill('[data-part="target"]', "red face")
    assert page.is_hidden('[data-part="refusal"]')


def test_typed_prompts_go_along_to_another_photo(page):
    for target in ("red face", "blue face"):
        ask_for(page, target)
    open_photo(page, portrait(size=(300, 700)))
    page.wait_for_selector(f'{TYPED} input[type="range"]:enabled')
    assert page.get_attribute(f'{TYPED} input[type="range"]', "max") == "4"  # measured on this photo
    assert page.input_value(f'{TYPED} input[type="text"]') == "0.0"
    blue = page.locator('.typed:has([data-name="face -> blue face"])')
    blue.get_by_text("Not on this photo: No channel of this model answers").wait_for()
    assert blue.locator('input[type="range"]').first.is_disabled()
    slide(page, TYPED, 4)
    assert np.abs(pixels(page) - portrait(size=(300, 700))).max() > 60
    open_photo(page, portrait())
    page.wait_for_selector('[data-name="face -> blue face"] input[type="range"]:enabled')
    assert blue.locator(".refusal").is_hidden()


def test_what_was_typed_is_offered_again_and_markup_is_text(chromium, studio):
    context, hostile = chromium.new_context(), "face -> <b>red</b> face"
    with browsing(chromium, studio, context=context) as page:
        ideas = page.locator('[data-part="ideas"] button').all_text_contents()
        assert ideas[0] == "smiling face with glasses"
        ask_for(page, "green face")
        ask_for(page, hostile)
        assert page.locator(".phrase span").all_text_contents()[1] == hostile.replace("->", "\N{RIGHTWARDS ARROW}")
        stored = page.evaluate("localStorage['hfgi-studio.prompts']")
        assert json.loads(stored) == [hostile, "face -> green face"]
        planted = json.dumps(["face -> <img src=x onerror=alert(1)>", *json.loads(stored)])
        page.evaluate("texts => { localStorage['hfgi-studio.prompts'] = texts; }", planted)
    with browsing(chromium, studio, context=context) as page:
        ideas = page.locator('[data-part="ideas"] button').all_text_contents()
        assert ideas[:3] == ["<img src=x onerror=alert(1)>", "<b>red</b> face", "green face"]
        assert page.locator("#studio :is(b, img[src=x]):not(.lesson b)").count() == 0
        page.click("text=green face")
        page.wait_for_selector('[data-name="face -> green face"]')
        page.click("text=Clear history")
        assert page.locator('[data-part="ideas"] button').all_text_contents()[0] == "smiling face with glasses"
    context.close()


def test_the_search_finds_typed_prompts(page):
    ask_for(page, "red face")
    page.fill('[type="search"]', "red")
    assert visible_rows(page) == ["face -> red face", "tone/red"]
    assert page.is_visible(".typed .strict")
    page.fill('[type="search"]', "look 12")
    assert page.is_hidden(".typed .strict")
    page.fill('[type="search"]', "")
    assert page.is_visible('[data-part="prompt"]')


def test_a_recipe_is_used_on_another_photo(page):
    ask_for(page, "red face")
    slide(page, GREEN, 2)
    page.check('input[value="e4e"]')
    edited = download(page)
    page.click(".typed .remove")
    page.check('.methods input[value="hfgi"]')
    open_photo(page, portrait((60, 60, 120)))
    use_recipe(page, edited)
    recipe = EditRecipe((("tone/green", 2.0),), (Prompt("face", "red face", 1.0),), "e4e")
    assert EditRecipe.from_json(images.read_recipe(download(page))) == recipe
    assert np.abs(pixels(page) - rendered(portrait((60, 60, 120)), recipe)).max() < 8
    use_recipe(page, images.encode(portrait(), "PNG"))
    assert message(page) == "That file carries no recipe; only pictures exported by this program do."
    use_recipe(page, b'{"strengths": {"tone/red": 1, "sefa/1": 2}, "prompts": ["face -> wizard = 1"]}', "some.json")
    assert message(page).endswith("cannot follow: sefa/1, face -> wizard.")
    assert page.input_value(f'{RED} input[type="text"]') == "+1.0"
    page.keyboard.press("Control+z")
    rest(page)
    assert EditRecipe.from_json(images.read_recipe(download(page))) == recipe


def test_a_model_without_a_text_model_has_no_box(chromium, tmp_path):
    (tmp_path / "examples").mkdir()
    images.write(tmp_path / "examples" / "portrait.jpg", portrait())
    arguments = (str(tmp_path / "examples"), "0", "wordless")
    with fakes.running(Path(fakes.__file__), *arguments, temp=tmp_path) as url, browsing(chromium, url) as page:
        assert page.locator('[data-part="prompt"]').count() == 0
        slide(page, GREEN, 2)
        use_recipe(page, b'{"prompts": ["face -> red face = 1"], "strengths": {"tone/blue": 2}}', "some.json")
        assert "face -> red face" in message(page)
        assert np.abs(centre(page) - (100, 100, 120)).max() < 8


# --- methods side by side ---------------------------------------------------------------------------------------------


def test_all_methods_are_compared_and_one_is_taken(page):
    slide(page, RED, 4)
    page.click("text=Compare >> nth=-1")
    page.wait_for_selector(COMPARED)
    square = face(portrait(), 4)
    for name, light in (("", 0), ("hfgi", 40), ("e4e", 20)):
        assert np.array_equal(pixels(page, f'[data-tile="{name}"] canvas'), face(portrait(), light / 10)), name
    assert "Slow one learns the photo first: about 5 seconds." in page.text_content('[data-tile="slow"] .lesson')
    page.click("[data-tile=e4e] figcaption button")
    rest(page)
    assert page.is_checked('.methods input[value="e4e"]')
    page.click('[data-view="wipe"]')
    page.select_option('[data-part="left"]', "e4e")
    page.select_option('[data-part="right"]', "hfgi")
    shown, half = pixels(page, '[data-part="paired"]'), square.shape[1] // 2
    assert np.array_equal(shown[:, :half], face(portrait(), 2)[:, :half])
    assert np.array_equal(shown[:, half:], square[:, half:])
    page.click('[data-view="difference"]')
    words = page.text_content('[data-part="words"]')
    assert "6.7 of 255 levels on average, by 7 at most" in words  # 20 levels of red, none of green and blue
    assert "shown 32 times as strong" in words
    page.select_option('[data-part="right"]', "e4e")
    assert page.text_content('[data-part="words"]') == "The two are the same to the last bit."
    assert pixels(page, '[data-part="paired"]').max() == 0
    page.keyboard.press("Escape")
    assert page.is_hidden('[data-part="compare"]')


def test_a_slow_method_says_how_long_can_be_stopped_and_is_used_when_ready(page):
    slide(page, RED, 4)
    page.click('.methods input[value="slow"]')  # it may be unchecked again at once
    lesson = page.locator('.methods [data-lesson="slow"]')
    lesson.get_by_text("about 5 seconds").wait_for()
    assert page.is_checked('.methods input[value="hfgi"]')  # the page goes on with what is ready
    lesson.get_by_text("Start").click()
    lesson.get_by_text("of 20").wait_for()
    slide(page, GREEN, 4)  # sliders stay live meanwhile
    assert centre(page)[1] > 130
    lesson.get_by_text("Cancel").click()
    lesson.get_by_text("Start").click()
    page.wait_for_selector('.methods input[value="slow"]:checked')
    rest(page)
    assert lesson.is_hidden()
    assert EditRecipe.from_json(images.read_recipe(download(page))).method == "slow"
    page.keyboard.press("Control+z")
    rest(page)
    assert page.is_checked('.methods input[value="hfgi"]')


# --- photos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_can_be_dropped_and_pasted(page, kind):
    drop(page, images.encode(portrait((60, 140, 60)), "PNG"), kind)
    wait_for(lambda: np.abs(centre(page) - (60, 140, 60)).max() < 8)


def test_examples_open_with_one_click(page):
    page.click('[aria-label="Example 2"]')
    page.wait_for_selector('[aria-label="Example 2"][aria-pressed="true"]')
    paint(page)
    assert np.abs(centre(page) - (120, 100, 80)).max() < 8
    assert page.is_hidden("text=Drag a slider, or open your own photo.")


def test_another_face_can_be_picked(page):
    open_photo(page, portrait(size=(300, 700)))
    slide(page, RED, 4)
    asked = []
    page.on("request", lambda request: asked.append(request) if "studio/open" in request.url else None)
    page.click('[data-part="faces"] button:has-text("2")')
    page.wait_for_selector('[data-part="faces"] button:has-text("2")[aria-pressed="true"]')
    slide(page, RED, 4)
    change = (pixels(page) - portrait(size=(300, 700)))[..., 0]
    assert np.abs(change[:, :340]).max() < 6 < 30 < change[:, 360:].max()
    assert [request.post_data_buffer for request in asked] == [None]  # the server had the photo


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"This is a letter, not a photo.", "cannot be opened"),
        (images.encode(portrait(), "JPEG")[:2000], "damaged"),
        (huge(), "megapixels"),
        (images.encode(np.full((200, 200, 3), 128, np.uint8), "PNG"), "no face"),
    ],
    ids=["text", "truncated", "huge", "faceless"],
)
def test_a_refused_photo_gets_one_sentence_and_the_old_one_stays(page, data, words):
    before = pixels(page)
    upload(page, data)
    text = message(page)
    assert words in text
    assert text.endswith(".")
    assert page.get_attribute("#studio", "aria-busy") == "false"
    assert np.array_equal(pixels(page), before)
    slide(page, GREEN, 2)
    assert np.abs(pixels(page) - before).max() > 10
    assert page.is_hidden('[data-part="alert"]')


def test_a_file_that_is_too_long_is_not_even_sent(page):
    page.evaluate(
        """size => { const carried = new DataTransfer(), input = document.querySelector("#studio input[type=file]");
            carried.items.add(new File([new Uint8Array(size)], "long.png", {type: "image/png"}));
            input.files = carried.files; input.dispatchEvent(new Event("change")); }""",
        images.MAX_BYTES + 1,
    )
    assert message(page) == "The photo is larger than 25 MB; save a smaller copy of it."


def test_two_browsers_never_see_each_others_photo_and_a_closed_one_leaves_none(chromium, studio, page):
    with browsing(chromium, studio) as other:
        open_photo(page, portrait((160, 80, 80)))
        open_photo(other, portrait((80, 80, 160)))
        for value in (2, 0, 3):
            slide(page, GREEN, value)
            slide(other, GREEN, value)
            assert np.abs(centre(page) - (160, 80 + 10 * value, 80)).max() < 8
            assert np.abs(centre(other) - (80, 80 + 10 * value, 160)).max() < 8
        token = visit(other)
        assert token != visit(page)
        assert has_photo(studio, token)
        other.close()
        wait_for(lambda: not has_photo(studio, token))


def test_a_photo_can_be_deleted_and_another_opened(page, studio):
    page.click("text=Delete my photo now")
    page.wait_for_selector("text=Drop a photo here")
    assert page.is_hidden(PICTURE)
    assert page.is_disabled("text=Download")
    assert not has_photo(studio, visit(page))
    open_photo(page, portrait((60, 60, 160)))
    assert np.abs(centre(page) - (60, 60, 160)).max() < 8


def test_a_photo_that_was_put_away_is_handed_in_again(page, studio):
    open_photo(page, portrait((60, 160, 60)))
    assert httpx.post(f"{studio}studio/close", content=visit(page)).status_code == 204
    slide(page, RED, 3)
    assert np.abs(centre(page) - (90, 160, 60)).max() < 8


def test_nothing_of_a_photo_is_written_to_disk(page, temp):
    slide(page, RED, 3)
    download(page)
    assert [path for path in temp.rglob("*") if path.is_file()] == []


# --- the real program ------------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.slow
def test_the_program_itself_from_photo_to_download(chromium, tmp_path):
    photo = images.read(ROOT / "assets" / "man.jpg")
    with fakes.running(ROOT / "app.py", temp=tmp_path) as url, browsing(chromium, url) as page:
        assert page.is_visible("text=Drag a slider, or open your own photo.")
        open_photo(page, photo)
        before = pixels(page)
        assert np.abs(before - photo).max() < 40  # JPEG
        drag(page, SMILE)
        wait_for(lambda: np.abs(pixels(page) - before).max() > 20, seconds=60)
        page.mouse.up()
        rest(page)
        data = download(page)
        (name, strength), *others = EditRecipe.from_json(images.read_recipe(data)).strengths
        assert (name, others) == ("interfacegan/smile", [])
        assert strength > 0
        assert np.abs(images.read(data).astype(int) - pixels(page)).max() < 40
        assert np.abs(images.read(data).astype(int) - photo)[:50].max() == 0  # nothing far from the face moved
        page.dblclick(f"{SMILE} label")
        rest(page)
        assert np.array_equal(pixels(page), before)
