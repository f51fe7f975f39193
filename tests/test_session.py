"""One user's open photo: zero is the photo, nothing jumps, nothing mixes, a failure changes nothing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from hfgi_app import face, images
from hfgi_app.errors import NoFaceError, PhotoError, RecipeError
from hfgi_app.models import Models, load_models
from hfgi_app.prompts import Prompt
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Photo

R, S = tiny.GENERATOR.size, tiny.ENCODER.size
SLIDERS = [slider for family in tiny.families().values() for slider in family.sliders()]
METHODS = ("hfgi", "e4e")
AGED = EditRecipe((("interfacegan/age", 4.0),))
every_slider = pytest.mark.parametrize("slider", SLIDERS, ids=lambda slider: slider.name)
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def session(models: Models, faces: list) -> EditSession:
    """A photo with two faces is open, the right one chosen."""
    made = EditSession(models)
    made.open(tiny.photo())
    return made


@pytest.fixture
def aligned(models: Models) -> EditSession:
    """An aligned photo of the model's own size is open."""
    made = EditSession(models)
    made.open(tiny.photo(R, R), aligned=True)
    return made


def difference(one: Photo, other: Photo) -> np.ndarray:
    return np.abs(one.astype(int) - other)


# --- zero ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [METHODS, METHODS[::-1]], ids=" then ".join)
def test_zero_is_the_photo_byte_for_byte(session: EditSession, methods: tuple[str, ...]) -> None:
    for method in methods:
        assert np.array_equal(session.render(EditRecipe(method=method)), tiny.photo())
        session.render(EditRecipe(AGED.strengths, method=method))
        assert np.array_equal(session.render(EditRecipe((("interfacegan/age", 0.0),), method=method)), tiny.photo())


@every_method
def test_zero_is_an_aligned_photo_byte_for_byte(aligned: EditSession, method: str) -> None:
    assert np.array_equal(aligned.render(EditRecipe(method=method)), tiny.photo(R, R))
    assert np.array_equal(aligned.photo, tiny.photo(R, R))


def test_an_aligned_photo_comes_out_at_the_models_size(models: Models) -> None:
    session, photo = EditSession(models), tiny.photo(100, 100)
    session.open(photo, aligned=True)
    assert np.array_equal(session.render(EditRecipe()), images.scale(photo, R))
    assert session.render(AGED).shape == session.raw(AGED).shape == session.coarse(AGED).shape == (R, R, 3)
    assert (session.faces, session.face) == (1, 0)


def test_zero_in_the_preview_is_the_face_as_it_is(session: EditSession) -> None:
    photo = tiny.photo()
    assert np.array_equal(session.preview(EditRecipe()), face.sample(photo, session.quad, session.preview_size))


@every_slider
def test_the_first_step_of_a_slider_jumps_nowhere(session: EditSession, slider) -> None:
    raw_error = difference(session.raw(EditRecipe()), images.scale(session.preview(EditRecipe()), R))
    assert raw_error.max() > 20, "the tiny model must be a poor one, or nothing could jump"
    for strength in (slider.step, -slider.step):
        step = EditRecipe(((slider.name, strength),))
        assert difference(session.render(step), tiny.photo()).max() <= 4
        assert difference(session.preview(step), session.preview(EditRecipe())).max() <= 4


@every_slider
def test_every_slider_changes_the_face_and_nothing_else(session: EditSession, slider) -> None:
    change = difference(session.render(EditRecipe(((slider.name, slider.high),))), tiny.photo())
    (left, top), (right, bottom) = session.quad[0], session.quad[2]
    assert change.max() > 10
    change[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = 0
    assert change.max() == 0


# --- the same again --------------------------------------------------------------------------------------------------


def test_same_recipe_same_picture(session: EditSession, models: Models) -> None:
    first = {kind: getattr(session, kind)(AGED) for kind in ("render", "preview", "raw", "coarse")}
    for slider in SLIDERS:
        session.preview(EditRecipe(((slider.name, slider.low),)))
    session.render(EditRecipe(method="e4e"))
    fresh = EditSession(models)
    fresh.open(tiny.photo())
    for kind, picture in first.items():
        assert picture.dtype == np.uint8
        assert np.array_equal(getattr(session, kind)(AGED), picture)
        assert np.array_equal(getattr(fresh, kind)(AGED), picture)


def test_a_recipe_says_all_there_is_to_a_picture(session: EditSession) -> None:
    both = EditRecipe((("ganspace/eyes", 20.0), ("interfacegan/age", 4.0)))
    pictures = [
        session.render(recipe)
        for recipe in (AGED, both, EditRecipe(both.strengths, keep=0.0), EditRecipe(both.strengths, method="e4e"))
    ]
    for index, one in enumerate(pictures):
        assert all(difference(one, other).max() > 0 for other in pictures[:index])
    assert np.array_equal(session.render(EditRecipe(both.strengths[::-1])), pictures[1])


@every_method
def test_preview_and_whole_photo_show_the_same_face(session: EditSession, method: str) -> None:
    recipe = EditRecipe((("interfacegan/smile", 2.0),), method=method)
    seen = face.sample(session.render(recipe), session.quad, session.preview_size)
    live, plain = session.preview(recipe), session.preview(EditRecipe())
    middle = slice(session.preview_size // 5, -session.preview_size // 5)  # inside the soft rim
    assert live.shape == (128, 128, 3)
    assert difference(live, plain)[middle, middle].mean() > 3
    assert difference(seen, live)[middle, middle].mean() < 1


def test_the_preview_is_as_large_as_the_face(session: EditSession, faces: list) -> None:
    assert session.preview_size == 128
    session.open(tiny.photo(300, 300), aligned=True)
    assert session.preview_size == 128  # the photo is shown at the model's own size
    faces[:] = [tiny.landmarks(150, 140, 40)]
    session.open(tiny.photo(300, 300))
    assert session.preview_size == 256


def test_an_aligned_photo_of_the_encoders_size_reaches_it_bit_for_bit(models: Models) -> None:
    seen: list[torch.Tensor] = []
    hook = models.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].clone()))
    photo = tiny.photo(S, S)
    session = EditSession(models)
    session.open(photo, aligned=True)
    hook.remove()
    assert len(seen) == 1
    assert torch.equal(seen[0], images.to_tensor(photo))
    assert torch.equal(session.inversion.source, seen[0])


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_largest_face_unless_another_is_asked_for(session: EditSession, faces: list) -> None:
    assert (session.faces, session.face) == (2, 1)
    assert np.array_equal(session.quad, face.quad(faces[1]))
    session.open(tiny.photo(), face_index=0)
    assert (session.faces, session.face) == (2, 0)
    assert np.array_equal(session.quad, face.quad(faces[0]))
    assert difference(session.render(AGED), tiny.photo())[30:50, 30:42].max() > 10


def test_opening_tells_how_far_it_is(session: EditSession) -> None:
    told: list[tuple[float, str]] = []
    session.open(tiny.photo(), progress=lambda share, what: told.append((share, what)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert all(what for _, what in told)


@pytest.mark.parametrize("failure", ["no face", "no such face", "not square", "cancelled", "fault"])
def test_a_failure_keeps_the_old_photo(session: EditSession, faces: list, monkeypatch, failure: str) -> None:
    before, other = session.render(AGED), tiny.photo(seed=3)

    def cancel(share: float, what: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    if failure == "no face":
        faces.clear()
    if failure == "fault":
        monkeypatch.setattr(session.models.refiner("hfgi"), "consult", fail)
    raised = {"cancelled": KeyboardInterrupt, "fault": RuntimeError, "not square": PhotoError}.get(failure, NoFaceError)
    with pytest.raises(raised):
        session.open(
            other,
            face_index=7 if failure == "no such face" else None,
            aligned=failure == "not square",
            progress=cancel if failure == "cancelled" else None,
        )
    assert np.array_equal(session.photo, tiny.photo())
    assert np.array_equal(session.render(AGED), before)


def test_another_photo_takes_the_place_of_the_first(session: EditSession, models: Models) -> None:
    session.render(AGED)
    session.open(tiny.photo(seed=3))
    fresh = EditSession(models)
    fresh.open(tiny.photo(seed=3))
    assert np.array_equal(session.render(AGED), fresh.render(AGED))
    assert np.array_equal(session.render(EditRecipe()), tiny.photo(seed=3))


def test_two_sessions_on_one_model_never_mix(models: Models, faces: list) -> None:
    photos = [tiny.photo(seed=seed) for seed in (1, 2)]
    recipes = [EditRecipe(((slider.name, slider.high / 2),)) for slider in SLIDERS]
    alone = []
    for photo in photos:
        session = EditSession(models)
        session.open(photo)
        alone.append([session.render(recipe) for recipe in recipes])
    both = [EditSession(models), EditSession(models)]
    for session, photo in zip(both, photos, strict=True):
        session.open(photo)
    for index, recipe in enumerate(recipes):
        for session, expected in zip(both, alone, strict=True):
            assert np.array_equal(session.render(recipe), expected[index])


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_frees_the_photo_and_all_that_came_of_it(session: EditSession) -> None:
    for method in METHODS:
        session.render(EditRecipe(AGED.strengths, method=method))
    held = [weakref.ref(each) for each in (session.inversion, session.inversion.codes, session.photo)]
    session.close()
    gc.collect()
    assert [each() for each in held] == [None] * 3
    assert (session.photo, session.nbytes) == (None, 0)


def test_a_session_knows_its_weight(session: EditSession) -> None:
    light = session.nbytes
    assert light > tiny.photo().nbytes
    session.render(AGED)
    heavy = session.nbytes
    assert light < heavy < 2**21
    session.render(AGED)
    assert session.nbytes == heavy


@pytest.mark.parametrize("kind", ["render", "preview", "raw", "coarse"])
def test_without_a_photo_there_is_no_picture(models: Models, kind: str) -> None:
    session = EditSession(models)
    assert (session.photo, session.nbytes) == (None, 0)
    with pytest.raises(PhotoError, match=r"^No photo is open yet; open one first\.$"):
        getattr(session, kind)(EditRecipe())


# --- recipes that cannot be followed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["render", "preview", "raw", "coarse"])
@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        (EditRecipe((("interfacegan/wings", 1.0),)), "slider 'interfacegan/wings'"),
        (EditRecipe((("age", 1.0),)), "slider 'age'"),
        (EditRecipe(method="magic"), "method 'magic'"),
        (EditRecipe(prompts=(Prompt("face", "face with hat", 3),)), "typed prompts"),
        (EditRecipe(AGED.strengths, (Prompt("face", "hat"),)), "typed prompts"),
    ],
    ids=["slider", "family", "method", "prompt", "prompt-and-slider"],
)
def test_what_a_recipe_cannot_ask_for_is_told_in_a_sentence(session: EditSession, recipe, what: str, kind: str) -> None:
    before = session.render(AGED)
    with pytest.raises(RecipeError) as caught:
        getattr(session, kind)(recipe)
    sentence = str(caught.value)
    assert what in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert np.array_equal(session.render(AGED), before)


@pytest.mark.weights
@pytest.mark.parametrize("edit", [("age", 20.0), ("age", -20.0), ("smile", 2.0), ("smile", -2.0), ("pose", 8.0)])
def test_the_composite_keeps_the_edit(edit: tuple[str, float]) -> None:
    """The photo's detail must not undo what the method did: nine tenths of the face's raw change, seen at a coarse
    scale. Behind the face it is to undo it."""
    import cv2

    session = EditSession(load_models())
    session.open(images.read(Path(__file__).parents[1] / "assets" / "man.jpg"))
    square = face.sample(session.photo, session.quad, session.models.size)
    session.open(square, aligned=True)
    recipe = EditRecipe(((f"interfacegan/{edit[0]}", edit[1]),))

    def change(edited: Photo, before: Photo) -> np.ndarray:
        return cv2.GaussianBlur(edited.astype(np.float32) - before, (0, 0), 3)[32:112, 32:96]

    raw = change(session.raw(recipe), session.raw(EditRecipe()))
    composed = change(session.render(recipe), session.photo)
    assert (raw * composed).sum() >= 0.9 * (raw * raw).sum()
