"""The command line: what it writes, what it says, and how it ends; hostile files get one sentence."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

import hfgi_app.models
from hfgi_app import images
from hfgi_app.cli import main
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe

ROOT = Path(__file__).parent.parent
AGE = "interfacegan/age=4"
AGED = EditRecipe((("interfacegan/age", 4.0),))
MEMORY = 1.5e9


@pytest.fixture(autouse=True)
def loaded(monkeypatch, request) -> list[tuple[tuple, dict]]:
    """The tiny model in place of any; what it was asked for by. Real weights where a test is marked so."""
    asked: list[tuple[tuple, dict]] = []
    if not request.node.get_closest_marker("weights"):
        models = request.getfixturevalue("models")
        monkeypatch.setattr(hfgi_app.models, "load_models", lambda *a, **k: asked.append((a, k)) or models)
    return asked


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file with two faces in it, once `faces` says so."""
    path = tmp_path / "photo.png"
    images.write(path, tiny.photo())
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder of its own, so that nothing else is in it."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.png"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def expected(models, recipe: EditRecipe, kind: str = "render", **options) -> np.ndarray:
    session = EditSession(models)
    session.open(tiny.photo(), **options)
    return getattr(session, kind)(recipe)


def refusal(capsys) -> str:
    """The one line that says what is wrong; nothing else may be on standard output."""
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    last = output.err.splitlines()[-1]
    assert last.startswith("hfgi: ")
    assert last.endswith(".")
    assert output.err.count("hfgi: ") == 1
    return last


def refused_usage(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


# --- edit ------------------------------------------------------------------------------------------------------------


def test_edit_writes_the_photo_with_its_recipe(models, faces, photo, out, capsys) -> None:
    assert run("edit", photo, "-o", out, "--set", AGE) == 0
    assert np.array_equal(images.read(out), expected(models, AGED))
    assert EditRecipe.from_json(images.read_recipe(out)) == AGED
    output = capsys.readouterr()
    assert output.out == ""
    assert "100% Ready" in output.err
    assert list(out.parent.iterdir()) == [out]


def test_edit_without_strengths_is_the_photo(faces, photo, out) -> None:
    assert run("edit", photo, "-o", out) == 0
    assert np.array_equal(images.read(out), tiny.photo())


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".PNG"])
def test_edit_writes_what_out_is_called(faces, photo, out, suffix) -> None:
    out = out.with_suffix(suffix)
    assert run("edit", photo, "-o", out, "--set", AGE) == 0
    assert images.read(out).shape == (90, 120, 3)
    assert EditRecipe.from_json(images.read_recipe(out)) == AGED


def test_edit_in_place(models, faces, photo) -> None:
    assert run("edit", photo, "-o", photo, "--set", AGE) == 0
    assert np.array_equal(images.read(photo), expected(models, AGED))


def test_edit_tells_about_itself_as_one_json_value(faces, photo, out, capsys) -> None:
    assert run("edit", photo, "-o", out, "--set", AGE, "--face", "0", "--json") == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert json.loads(output) == {
        "out": str(out),
        "width": 120,
        "height": 90,
        "recipe": json.loads(AGED.to_json()),
        "faces": 2,
        "face": 0,
    }


def test_another_face_another_method_and_the_raw_render(models, faces, photo, out) -> None:
    assert run("edit", photo, "-o", out, "--set", AGE, "--face", 0, "--method", "e4e") == 0
    recipe = EditRecipe(AGED.strengths, method="e4e")
    assert np.array_equal(images.read(out), expected(models, recipe, face_index=0))
    assert run("edit", photo, "-o", out, "--set", AGE, "--raw") == 0
    assert np.array_equal(images.read(out), expected(models, AGED, "raw"))


def test_an_aligned_photo_needs_no_face(out, tmp_path) -> None:
    images.write(tmp_path / "aligned.png", tiny.photo(32, 32))
    assert run("edit", tmp_path / "aligned.png", "-o", out, "--aligned") == 0
    assert np.array_equal(images.read(out), tiny.photo(32, 32))


def test_invert_is_the_unedited_render_of_a_method(models, faces, photo, out) -> None:
    for method in ("hfgi", "e4e"):
        assert run("invert", photo, "-o", out, "--method", method) == 0
        assert np.array_equal(images.read(out), expected(models, EditRecipe(method=method), "raw"))


def test_the_model_asked_for_is_loaded(loaded, faces, photo, out, tmp_path) -> None:
    options = ("--model", "ffhq-1024", "--checkpoint", tmp_path / "a.pt", "--directions", tmp_path)
    assert run("edit", photo, "-o", out, *options) == 0
    own = {"checkpoint": tmp_path / "a.pt", "directions": tmp_path, "ablations": False}
    assert loaded == [(("ffhq-1024",), own)]


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "picture"])
def test_a_recipe_file_and_what_is_set_on_top_of_it(faces, photo, out, tmp_path, kind) -> None:
    kept = EditRecipe((("interfacegan/age", 4.0), ("ganspace/lip", 3.0)), method="e4e", keep=0.5)
    recipe = tmp_path / ("recipe.json" if kind == "json" else "recipe.png")
    if kind == "json":
        recipe.write_text(kept.to_json())
    else:
        images.write(recipe, tiny.photo(), kept.to_json())
    assert run("edit", photo, "-o", out, "--recipe", recipe) == 0
    assert EditRecipe.from_json(images.read_recipe(out)) == kept
    assert run("edit", photo, "-o", out, "--recipe", recipe, "--set", "ganspace/lip=0", "--method", "hfgi") == 0
    assert EditRecipe.from_json(images.read_recipe(out)) == EditRecipe(AGED.strengths, keep=0.5)


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"{", b"\xff\xfe", b'{"age": 1}', b'{"keep": 1e999}', b"[" * 2**21],
    ids=["empty", "list", "cut", "no text", "unknown field", "endless number", "endless text"],
)
def test_a_broken_recipe_is_told(faces, photo, out, tmp_path, capsys, content) -> None:
    (tmp_path / "recipe.json").write_bytes(content)
    assert run("edit", photo, "-o", out, "--recipe", tmp_path / "recipe.json") == 1
    refusal(capsys)
    assert not out.exists()


def test_a_recipe_that_is_not_there_is_told(faces, photo, out, tmp_path, capsys) -> None:
    assert run("edit", photo, "-o", out, "--recipe", photo) == 1
    assert "carries no recipe" in refusal(capsys)
    for missing in (tmp_path / "none.json", tmp_path):
        assert run("edit", photo, "-o", out, "--recipe", missing) == 1
        assert "cannot be read" in refusal(capsys)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--set", "interfacegan/wings=1"), "no slider 'interfacegan/wings'"),
        (("--set", "interfacegan/age=nan"), "must be a finite number"),
        (("--method", "magic"), "no method 'magic'"),
        (("--text", "face -> face with hat = 3"), "typed prompts"),
        (("--face", "2"), "no face 2"),
        (("--face", "-1"), "no face -1"),
        (("--aligned",), "An aligned photo is square"),
    ],
)
def test_what_cannot_be_done_is_told(faces, photo, out, capsys, arguments, what) -> None:
    assert run("edit", photo, "-o", out, *arguments) == 1
    assert what in refusal(capsys)
    assert list(out.parent.iterdir()) == []


# --- listings --------------------------------------------------------------------------------------------------------


def test_sliders_as_json_and_as_a_table(models, capsys) -> None:
    assert run("sliders", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [slider.name for slider in models.sliders()]
    assert all(row.keys() == {"name", "label", "low", "high", "step", "unit", "family"} for row in rows)
    assert run("sliders") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "label", "low", "high", "unit"]
    assert [line.split()[0] for line in lines[1:]] == [row["name"] for row in rows]


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        (("methods",), {"name", "label", "paper"}),
        (("models",), {"name", "label", "note"}),
        (("weights", "list"), {"name", "repo", "licence", "about"}),
    ],
    ids=" ".join,
)
def test_listings(capsys, command, columns) -> None:
    assert run(*command, "--json") == 0
    output = capsys.readouterr()
    assert output.out.count("\n") == 1
    assert output.err == ""
    rows = json.loads(output.out)
    assert rows
    assert all(columns <= row.keys() for row in rows)
    assert run(*command) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1


def test_weights_are_verified_and_fetched_by_name(capsys) -> None:
    assert run("weights", "verify") == 0
    made = tiny.models()
    methods, sliders = len(made.methods()), len(made.sliders())
    assert capsys.readouterr().out == f"tiny: whole, with {methods} methods and {sliders} sliders\n"
    assert run("weights", "fetch", "nothing") == 1
    assert "There are no weights named 'nothing'" in refusal(capsys)
    assert run("weights", "fetch", "hfgi-ffhq") == 1
    assert "no mirror" in refusal(capsys)


# --- wrong usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "COMMAND"),
        (("sharpen",), "invalid choice"),
        (("edit", "a.png"), "-o"),
        (("edit", "a.png", "-o", "b.png", "--set", "age=1"), "FAMILY/NAME=STRENGTH"),
        (("edit", "a.png", "-o", "b.png", "--set", "interfacegan/age"), "FAMILY/NAME=STRENGTH"),
        (("edit", "a.png", "-o", "b.png", "--set", "interfacegan/age=old"), "'old'"),
        (("edit", "a.png", "-o", "b.png", "--face", "left"), "--face"),
        (("weights",), "ACTION"),
        (("weights", "fetch"), "name"),
        (("train", "discriminator"), "invalid choice"),
        (("train", "generator", "--size", "100"), "--size"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two(capsys, arguments, what) -> None:
    assert what in refused_usage(capsys, *arguments)


@pytest.mark.parametrize(("name", "what"), [("out.gif", "OUT must end in"), ("none/out.png", "make it first")])
def test_an_out_that_cannot_be_is_refused_before_any_work(photo, out, loaded, capsys, name, what) -> None:
    assert run("edit", photo, "-o", out.parent / name) == 1
    assert what in refusal(capsys)
    assert loaded == []


def test_out_is_written_whole_or_not_at_all(faces, photo, out, monkeypatch, capsys) -> None:
    out.mkdir()  # a folder where the file should go
    assert run("edit", photo, "-o", out) == 1
    assert "cannot be written" in refusal(capsys)
    assert list(out.parent.iterdir()) == [out]
    out.rmdir()
    out.write_bytes(b"old")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("edit", photo, "-o", out) == 1
    assert "No space left" in refusal(capsys)
    assert out.read_bytes() == b"old"
    assert list(out.parent.iterdir()) == [out]


def test_stopping_is_not_a_fault(faces, photo, out, monkeypatch, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EditSession, "open", stop)
    assert run("edit", photo, "-o", out) == 1
    assert capsys.readouterr().err == "hfgi: stopped\n"


# --- hostile files ---------------------------------------------------------------------------------------------------


def bomb(path: Path) -> None:
    """A PNG of a few hundred bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def cut(path: Path) -> None:
    whole = images.encode(tiny.photo(200, 200), "JPEG")
    path.write_bytes(whole[: len(whole) // 2])


def gif(path: Path) -> None:
    frames = [Image.fromarray(tiny.photo(seed=seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def deep(path: Path) -> None:
    grey = tiny.photo()[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (lambda path: path.write_bytes(b""), "cannot be opened"),
    "cut.jpg": (cut, "damaged or incomplete"),
    "text.jpg": (lambda path: path.write_text("I am a photo."), "cannot be opened"),
    "dot.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "only 1 x 1 pixels"),
    "bomb.png": (bomb, "more than 40 megapixels"),
    "folder.png": (lambda path: path.mkdir(), "There is no photo at"),
    "missing.png": (lambda path: None, "There is no photo at"),
}
UNUSUAL: dict[str, Callable[[Path], object]] = {
    "cmyk.jpg": lambda path: Image.fromarray(tiny.photo()).convert("CMYK").save(path),
    "deep.png": deep,
    "moving.gif": gif,
    "faceless.png": lambda path: images.write(path, tiny.photo()),
}


@pytest.mark.parametrize("command", ["edit", "invert"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_sentence(tmp_path, out, loaded, capsys, name, command) -> None:
    make, what = HOSTILE[name]
    make(tmp_path / name)
    assert run(command, tmp_path / name, "-o", out) == 1
    assert what in refusal(capsys)
    assert list(out.parent.iterdir()) == []
    assert loaded == [], "the photo is judged before any network is loaded"


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_photo_is_looked_at(tmp_path, out, capsys, name) -> None:
    UNUSUAL[name](tmp_path / name)
    assert run("edit", tmp_path / name, "-o", out) == 1
    assert "No face was found" in refusal(capsys)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_photo_with_a_face_is_edited(faces, tmp_path, out, name) -> None:
    UNUSUAL[name](tmp_path / name)
    assert run("edit", tmp_path / name, "-o", out, "--set", AGE) == 0
    photo = images.read(tmp_path / name)
    assert np.abs(photo.astype(int) - tiny.photo()).mean() < 30
    assert np.abs(images.read(out).astype(int) - photo).max() > 0


# --- in a process of its own -----------------------------------------------------------------------------------------


def process(*arguments: object) -> tuple[int, str, str, float]:
    """Exit code, standard output, standard error, and the most memory it had, in bytes."""
    command = [sys.executable, "-m", "hfgi_app", *map(str, arguments)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with started:
        output, errors = started.stdout.read(), started.stderr.read()
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    return started.returncode, output, errors, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_a_bomb_in_a_process_of_its_own(tmp_path, out) -> None:
    bomb(tmp_path / "bomb.png")
    code, output, errors, memory = process("edit", tmp_path / "bomb.png", "-o", out, "--json")
    assert (code, output) == (1, "")
    assert errors.startswith("hfgi: The photo has more than 40 megapixels; ")
    assert errors.count("\n") == 1
    assert memory < MEMORY
    assert list(out.parent.iterdir()) == []


def test_wrong_usage_in_a_process_of_its_own() -> None:
    code, output, errors, _ = process("edit")
    assert (code, output) == (2, "")
    assert errors.startswith("usage: ")


@pytest.mark.weights
def test_a_real_photo_in_a_process_of_its_own(out) -> None:
    photo = ROOT / "assets" / "man.jpg"
    code, output, errors, memory = process("edit", photo, "-o", out, "--set", "interfacegan/smile=2", "--json")
    assert code == 0, errors
    assert json.loads(output)["faces"] == 1
    assert memory < MEMORY
    change = np.abs(images.read(out).astype(int) - images.read(photo))
    assert change.max() > 10
    assert all(line[:4].strip().endswith("%") for line in errors.splitlines())
