"""Typed prompts: their form, the published arithmetic, ranges on a photo, mappers, and refusals in one sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

import hfgi_app.cli
import hfgi_app.models
import hfgi_app.session
from hfgi_app import images, weights
from hfgi_app.directions import build
from hfgi_app.directions.base import Source
from hfgi_app.directions.styleclip import StyleCLIP, calibrate, mappers, relevance
from hfgi_app.directions.styleclip.relevance import Relevance
from hfgi_app.directions.styleclip.words import split
from hfgi_app.errors import RecipeError, WeightsError
from hfgi_app.models import Models
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.prompts import LONGEST, Prompt
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Latents

KNOWN = ("face", "smiling", "glasses", "old", "bald", "young")
WIDTHS = relevance.widths(tiny.GENERATOR)
PUBLISHED = GeneratorConfig((512, 512, 512, 512, 512, 256, 128, 64, 32))


class FewWords:
    """A text model with an axis for each of its words; of a picture it sees the mean colours."""

    name, side = "small", 32

    def text(self, phrase: str) -> Tensor:
        words = split(phrase.replace("with", ""))
        if not words or set(words) - set(KNOWN):
            raise RecipeError(f"It does not know {phrase}; it knows {', '.join(KNOWN)}.")
        return F.normalize(torch.stack([torch.eye(len(KNOWN))[KNOWN.index(word)] for word in words]).sum(0), dim=0)

    def image(self, pictures: Tensor) -> Tensor:
        seen = torch.cat((pictures.mean((2, 3)), pictures.std((2, 3))), 1)
        return F.normalize(seen, dim=1)


def measured(seed: int = 0) -> Relevance:
    rng = torch.Generator().manual_seed(seed)
    matrix = F.normalize(torch.randn(sum(WIDTHS), len(KNOWN), generator=rng), dim=1)
    return Relevance("small", matrix, 0.1 + torch.rand(sum(WIDTHS), generator=rng), WIDTHS)


@pytest.fixture(scope="module")
def prompting() -> Models:
    """The tiny model, able to follow prompts of a few words."""
    families = {**tiny.families(), "styleclip": StyleCLIP(measured(), FewWords())}
    return Models(tiny.INFO, tiny.tensors(), tiny.CONFIG, families, torch.device("cpu"))


@pytest.fixture
def session(prompting: Models, faces) -> EditSession:
    session = EditSession(prompting)
    session.open(tiny.photo())
    return session


def recipe(*prompts: Prompt) -> EditRecipe:
    return EditRecipe(prompts=prompts)


# --- the form of a prompt --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("face -> smiling face = 1", Prompt("face", "smiling face")),
        ("  a  face->a smiling\tface=-2.5@.15 ", Prompt("a face", "a smiling face", -2.5, 0.15)),
        ("face with hair -> face, long hair! = 1e-1 @ 0", Prompt("face with hair", "face, long hair!", 0.1, 0)),
        ("face -> лицо = 3", Prompt("face", "лицо", 3)),
    ],
)
def test_a_prompt_is_read_and_written(text: str, prompt: Prompt) -> None:
    assert Prompt.parse(text) == prompt
    assert Prompt.parse(str(prompt)) == prompt


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not of the form"),
        ("smiling", "not of the form"),
        ("face -> smiling", "not of the form"),
        ("= 3", "not of the form"),
        ("-> smiling = 1", "no words before the arrow"),
        ("face -> = 1", "no words after the arrow"),
        ("face -> ?!? 12 = 1", "no words after the arrow"),
        ("face -> Face = 1", "on both sides"),
        ("face ->  face  = 1", "on both sides"),
        ("face -> smiling =", "must be a number"),
        ("face -> smiling = much", "must be a number"),
        ("face -> smiling = 1 = 2", "must be a number"),
        ("face -> smiling = nan", "must be a finite number"),
        ("face -> smiling = 1e999", "must be a finite number"),
        ("face -> smiling = 1 @", "must be a number"),
        ("face -> smiling = 1 @ -0.1", "between 0 and 1"),
        ("face -> smiling = 1 @ 1.1", "between 0 and 1"),
        ("face -> a -> b = 1", "one of the signs"),
        ("a @ b -> c = 1", "one of the signs"),
        ("face -> " + "very " * 400 + "old = 1", "use at most 200"),
        ("x" * 2000, "not of the form"),
        ("face -> old = " + "9" * 5000 + "x", "must be a number"),
    ],
)
def test_what_is_no_prompt_is_refused_in_one_sentence(text: str, what: str) -> None:
    with pytest.raises(RecipeError, match=what) as caught:
        Prompt.parse(text)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 250


def test_the_longest_phrase_is_read() -> None:
    assert Prompt("face", "x" * LONGEST).target == "x" * LONGEST
    with pytest.raises(RecipeError, match="201 characters after"):
        Prompt("face", "x" * (LONGEST + 1))


def test_recipes_hold_each_prompt_once_in_one_order_without_zeros() -> None:
    one = recipe(Prompt("face", "old face", 1), Prompt("a", "b", 0), Prompt("Face", "Old face", 2))
    two = recipe(Prompt("a", "b", 3), Prompt("Face", "Old face", 2), Prompt("a", "b", 0))
    assert one == two
    assert one.prompts == (Prompt("Face", "Old face", 2),)
    assert recipe(Prompt("a", "b", 0)).is_identity
    assert json.loads(one.to_json())["prompts"] == ["Face -> Old face = 2"]


# --- the published arithmetic ----------------------------------------------------------------------------------------


def test_widths_are_the_generators() -> None:
    styles = Generator(tiny.GENERATOR).styles(Latents(torch.zeros(1, tiny.GENERATOR.rows, tiny.GENERATOR.dim)))
    assert tuple(style.shape[1] for style in styles.convs) == WIDTHS
    assert sum(relevance.widths(PUBLISHED)) == 6048
    assert sum(relevance.widths(PUBLISHED)[:11]) == 5376


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.6])
def test_steps_are_masked_relevance_over_its_largest_times_the_deviation(beta: float, published: bool) -> None:
    """What leads away from the neutral phrase itself is left out where the matrix is not the published one."""
    matrix, words = replace(measured(), published=published), FewWords()
    neutral, target = words.text("face"), words.text("smiling face")
    found = relevance.direction(matrix, neutral, target, beta)
    delta = (target - neutral).numpy()
    if not published:
        delta = delta - delta @ neutral.numpy() * neutral.numpy()
    delta = delta / np.linalg.norm(delta)
    wanted, start = [], 0
    scores = [float(np.dot(row, delta)) for row in matrix.matrix.numpy()]
    for score, deviation in zip(scores, matrix.deviations.tolist(), strict=True):
        wanted.append(score / max(map(abs, scores)) * deviation if abs(score) >= beta else 0.0)
    steps = dict(found.styles)
    for layer, width in enumerate(WIDTHS):
        part = np.array(wanted[start : start + width])
        assert (layer in steps) == bool(part.any())
        if layer in steps:
            np.testing.assert_allclose(steps[layer][0].numpy(), part, atol=1e-6)
        start += width
    assert found.channels == sum(value != 0 for value in wanted)
    assert found.strictest == pytest.approx(max(map(abs, scores)))
    assert found.beta == beta


def test_without_beta_so_many_channels_move_as_the_published_examples_do(monkeypatch) -> None:
    monkeypatch.setattr(relevance, "KEPT", 7)
    words = FewWords()
    found = relevance.direction(measured(), words.text("face"), words.text("old face"), None)
    assert found.channels == 7
    again = relevance.direction(measured(), words.text("face"), words.text("old face"), found.beta)
    assert again.channels == 7


def test_the_opposite_prompt_is_the_opposite_step() -> None:
    words = FewWords()
    matrix = replace(measured(), published=True)
    there = relevance.direction(matrix, words.text("face"), words.text("old face"), 0.2)
    back = relevance.direction(matrix, words.text("old face"), words.text("face"), 0.2)
    for (layer, step), (same, other) in zip(there.styles, back.styles, strict=True):
        assert layer == same
        assert torch.equal(step, -other)


def test_a_beta_that_leaves_no_channel_names_the_largest_that_does() -> None:
    words = FewWords()
    texts = words.text("face"), words.text("smiling face")
    with pytest.raises(RecipeError, match=r"leaves no channel to move; use at most 0\.\d+ here\.$"):
        relevance.direction(measured(), *texts, 0.9999)
    strictest = relevance.direction(measured(), *texts, None).strictest
    assert relevance.direction(measured(), *texts, strictest).channels == 1


def test_phrases_that_mean_the_same_are_refused() -> None:
    words = FewWords()
    with pytest.raises(RecipeError, match="say the same"):
        relevance.direction(measured(), words.text("a face"), words.text("the face"), None)
    blind = Relevance("small", torch.zeros(sum(WIDTHS), len(KNOWN)), torch.ones(sum(WIDTHS)), WIDTHS)
    with pytest.raises(RecipeError, match="No channel"):
        relevance.direction(blind, words.text("face"), words.text("old face"), None)


def test_words_never_written_together_both_move() -> None:
    """Channels that answer to one word alone: both words' channels are in the direction of the two together."""
    axes = torch.eye(len(KNOWN))
    rows = torch.zeros(sum(WIDTHS), len(KNOWN))
    rows[3], rows[20], rows[40] = (axes[KNOWN.index(word)] for word in ("smiling", "glasses", "bald"))
    alone = Relevance("small", rows, torch.ones(sum(WIDTHS)), WIDTHS)
    words = FewWords()
    found = relevance.direction(alone, words.text("face"), words.text("smiling face with glasses"), 0.2)
    steps = torch.zeros(sum(WIDTHS))
    for layer, step in found.styles:
        steps[sum(WIDTHS[:layer]) : sum(WIDTHS[: layer + 1])] = step[0]
    assert steps[3] == steps[20] == 1
    assert found.channels == 2


# --- on a photo ------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_a_slider_whose_range_is_the_photos(session: EditSession) -> None:
    typed = session.typed(Prompt("face", "smiling face", 3, 0.2))
    assert typed.prompt == Prompt("face", "smiling face", 1, 0.2)
    assert (typed.slider.name, typed.slider.label) == ("face -> smiling face", "smiling face")
    assert typed.slider.low < 0 < typed.slider.high
    assert typed.slider.family == "styleclip"
    assert 0 < typed.channels < sum(WIDTHS)
    assert 0.2 < typed.strictest <= 1
    stricter = session.typed(Prompt("face", "smiling face", beta=0.6))
    assert 0 < stricter.channels < typed.channels


@pytest.mark.parametrize("strength", [-2, -1, 1, 2])
@pytest.mark.parametrize("target", ["smiling face", "old face", "bald face with glasses"])
def test_equal_strengths_change_the_picture_equally(session: EditSession, target: str, strength: float) -> None:
    before = images.to_tensor(session.coarse(EditRecipe()))
    after = images.to_tensor(session.coarse(recipe(Prompt("face", target, strength))))
    change = float((after - before).square().mean().sqrt())
    assert change == pytest.approx(abs(strength) * calibrate.CLEAR, rel=0.35)


def test_no_strength_is_no_edit_and_the_first_step_does_not_jump(session: EditSession) -> None:
    assert np.array_equal(session.render(recipe(Prompt("face", "old face", 0))), session.photo)
    step = session.render(recipe(Prompt("face", "old face", session.typed(Prompt("face", "old face")).slider.step)))
    moved = np.abs(step.astype(int) - session.photo).max()
    assert 0 < moved <= 8


def test_prompts_add_to_sliders_and_to_each_other(session: EditSession) -> None:
    smile, old = Prompt("face", "smiling face", 0.5), Prompt("face", "old face", -0.5)
    both = EditRecipe((("interfacegan/age", 1.0),), (smile, old))
    assert np.array_equal(session.render(both), session.render(EditRecipe(both.strengths, (old, smile))))
    for less in (recipe(smile, old), EditRecipe(both.strengths, (smile,)), EditRecipe(both.strengths, (old,))):
        assert not np.array_equal(session.render(both), session.render(less))


def test_what_else_changed_is_told(session: EditSession, monkeypatch) -> None:
    monkeypatch.setattr(calibrate, "PROBES", {"age": ("young face", "old face"), "hat": ("face", "hat")})
    assert session.changes(EditRecipe()) == ()
    asked = Prompt("face", "smiling face", 1)
    first, *others = session.changes(recipe(asked))
    assert first.label == "smiling face"
    assert all(-1 <= change.amount <= 1 for change in (first, *others))
    assert {change.label for change in others} <= {"age"}
    by_slider = session.changes(EditRecipe((("interfacegan/age", 5.0),)))
    assert {change.label for change in by_slider} <= {"age"}


def test_a_photo_remembers_so_many_prompts(session: EditSession, monkeypatch) -> None:
    monkeypatch.setattr(hfgi_app.session, "TYPED_KEPT", 3)
    for beta in (0.1, 0.2, 0.3, 0.4, 0.5):
        session.typed(Prompt("face", "old face", beta=beta))
    assert len(session._photo().typed) == 3


def test_unknown_words_are_refused_with_those_it_knows(session: EditSession) -> None:
    with pytest.raises(RecipeError, match=r"does not know wizard; it knows face, smiling"):
        session.render(recipe(Prompt("face", "wizard")))
    assert session.photo is not None


def test_a_model_without_a_matrix_says_how_to_get_one(prompting: Models, faces) -> None:
    for family in ({}, {"styleclip": StyleCLIP(None, FewWords())}):
        models = Models(tiny.INFO, tiny.tensors(), tiny.CONFIG, family, torch.device("cpu"))
        assert not models.follows_prompts
        assert prompting.follows_prompts
        session = EditSession(models)
        session.open(tiny.photo())
        with pytest.raises(RecipeError, match="typed prompts"):
            session.typed(Prompt("face", "old face"))


# --- published files -------------------------------------------------------------------------------------------------


def source(folder: Path, config: GeneratorConfig = PUBLISHED, tensors: Mapping[str, Tensor] | None = None) -> Source:
    return Source(config, tensors or {}, {}, folder)


def save_published(folder: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((6048, 512)).astype(np.float16)
    np.save(folder / "fs3.npy", matrix)
    convs = list(relevance.widths(PUBLISHED))
    sizes = [convs.pop(0), 512]
    while convs:
        sizes += [convs.pop(0), last := convs.pop(0), last]
    deviations = [rng.random(size).astype(np.float32) for size in sizes]
    assert len(deviations) == 26
    means = [np.zeros(size, np.float32) for size in sizes]
    (folder / "S_mean_std").write_bytes(pickle.dumps([means, deviations], protocol=2))
    return matrix, deviations


@pytest.fixture
def nothing_fetched(monkeypatch) -> None:
    monkeypatch.setattr(weights, "at_hand", lambda spec: None)


def test_the_published_matrix_is_read_and_strengths_are_alphas(tmp_path: Path, nothing_fetched) -> None:
    matrix, deviations = save_published(tmp_path)
    family = StyleCLIP.build(source(tmp_path))
    assert family is not None
    assert family.relevance is not None
    assert (family.relevance.words, family.relevance.published) == ("clip", True)
    assert torch.equal(family.relevance.matrix, torch.from_numpy(matrix.astype(np.float32)))
    convs = np.concatenate([one for index, one in enumerate(deviations) if index not in range(1, 26, 3)])
    np.testing.assert_array_equal(family.relevance.deviations.numpy(), convs)
    axes = torch.eye(512)
    monkey = type("Words", (), {"text": lambda self, phrase: axes[len(phrase)], "side": 224})()
    typed, delta = StyleCLIP(family.relevance, monkey).typed(
        Prompt("face", "old face", beta=0.1),
        torch.zeros(1, 18, 512),
        lambda latents: torch.full(
            (1, 3, 8, 8), 0.1 * float(latents.styles[0][1].abs().max()) if latents.styles else 0
        ),
    )
    assert delta.curve(4.1) == 4.1
    assert typed.slider.step == 0.1
    assert -10 <= typed.slider.low < 0 < typed.slider.high <= 10


def test_other_files_are_refused(tmp_path: Path, nothing_fetched) -> None:
    save_published(tmp_path)
    with pytest.raises(WeightsError, match="expected 48 rows"):
        relevance.published(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.GENERATOR)
    (tmp_path / "S_mean_std").write_bytes(pickle.dumps([[1], [2]], protocol=2))
    with pytest.raises(WeightsError, match="S_mean_std"):
        StyleCLIP.build(source(tmp_path))
    (tmp_path / "S_mean_std").write_bytes(pickle.dumps(Path("x"), protocol=2))
    with pytest.raises(WeightsError, match=r"asks for pathlib.*not opened"):
        StyleCLIP.build(source(tmp_path))
    (tmp_path / "S_mean_std").write_bytes(b"no pickle")
    with pytest.raises(WeightsError, match="no readable list of arrays"):
        StyleCLIP.build(source(tmp_path))
    (tmp_path / "fs3.npy").write_bytes(b"no array")
    with pytest.raises(WeightsError, match="no readable array"):
        StyleCLIP.build(source(tmp_path))


def test_a_matrix_of_ones_own_is_read_from_a_directions_folder(tmp_path: Path) -> None:
    tensors = {"matrix": torch.randn(sum(WIDTHS), 6), "deviations": torch.rand(sum(WIDTHS))}
    described = {"config": json.dumps({"styleclip": {"matrix": {"words": "clip"}}})}
    weights.save(tmp_path / "own.safetensors", {f"styleclip.{k}": v for k, v in tensors.items()}, described)
    family = build(tiny.tensors(), tiny.CONFIG, tmp_path)["styleclip"]
    assert isinstance(family, StyleCLIP)
    assert family.relevance is not None
    assert torch.equal(family.relevance.matrix, tensors["matrix"])
    assert family.words is not None
    assert family.words.name == "clip"
    weights.save(tmp_path / "own.safetensors", {"styleclip.matrix": torch.randn(5, 6)}, described)
    with pytest.raises(WeightsError, match="does not fit this generator"):
        build(tiny.tensors(), tiny.CONFIG, tmp_path)


# --- mappers ---------------------------------------------------------------------------------------------------------


def save_mapper(path: Path, groups: tuple[str, ...], prefix: str = "mapper.", width: int = 512) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    state = {}
    for group in groups:
        for layer in range(1, 5):
            state[f"{prefix}{group}_mapping.mapping.{layer}.weight"] = torch.randn(width, width, generator=rng) * 100
            state[f"{prefix}{group}_mapping.mapping.{layer}.bias"] = torch.randn(width, generator=rng)
    others = {"decoder.style.1.weight": torch.zeros(2, 2)}
    torch.save({"state_dict": {**state, **others}, "opts": {"no_fine_mapper": "fine" not in groups}}, path)
    return state


@pytest.mark.parametrize("groups", [("course", "medium", "fine"), ("course", "medium")])
def test_a_mapper_is_read_and_steps_as_published(tmp_path: Path, nothing_fetched, groups: tuple[str, ...]) -> None:
    state = save_mapper(tmp_path / "angry.pt", groups)
    family = StyleCLIP.build(source(tmp_path))
    assert family is not None
    (slider,) = family.sliders()
    assert (slider.name, slider.label, slider.low, slider.high) == ("styleclip/angry", "Angry", -0.2, 0.2)
    codes = torch.randn(1, 18, 512, generator=torch.Generator().manual_seed(1))
    inversion = type("Inversion", (), {"codes": codes})()
    step = family.delta("angry", inversion).w
    assert step is not None
    for group, rows in (("course", slice(0, 4)), ("medium", slice(4, 8)), ("fine", slice(8, 18))):
        x = codes[:, rows]
        x = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
        for layer in range(1, 5) if group in groups else ():
            name = f"mapper.{group}_mapping.mapping.{layer}"
            x = x @ (state[f"{name}.weight"] * 0.01 / 512**0.5).T + 0.01 * state[f"{name}.bias"]
            x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
        wanted = x if group in groups else torch.zeros_like(x)
        torch.testing.assert_close(step[:, rows], wanted, rtol=1e-4, atol=1e-5)


def test_every_published_mapper_has_its_entry() -> None:
    assert len(mappers.FACTS) == 14
    for name in mappers.FACTS:
        assert weights.spec(f"mapper-{name}").file.endswith(f"/{name}.pt")


def test_other_files_are_no_mappers(tmp_path: Path) -> None:
    torch.save({"state_dict": {"decoder.x": torch.zeros(2)}}, tmp_path / "afro.pt")
    with pytest.raises(WeightsError, match="holds no StyleCLIP mapper"):
        mappers.read(tmp_path / "afro.pt")
    torch.save([1, 2], tmp_path / "afro.pt")
    with pytest.raises(WeightsError, match="holds no StyleCLIP mapper"):
        mappers.read(tmp_path / "afro.pt")
    save_mapper(tmp_path / "afro.pt", ("course",), width=8)
    with pytest.raises(WeightsError, match="holds no StyleCLIP mapper"):
        mappers.read(tmp_path / "afro.pt")
    state = save_mapper(tmp_path / "afro.pt", ("course",))
    state.popitem()
    torch.save(state, tmp_path / "afro.pt")
    with pytest.raises(WeightsError, match="lack"):
        mappers.read(tmp_path / "afro.pt")


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path, prompting: Models, faces, monkeypatch) -> Path:
    monkeypatch.setattr(hfgi_app.models, "load_models", lambda *args, **kwargs: prompting)
    images.write(tmp_path / "photo.png", tiny.photo())
    return tmp_path / "photo.png"


def edit(photo: Path, *arguments: str) -> int:
    return hfgi_app.cli.main(["edit", str(photo), "-o", str(photo.parent / "out.png"), *arguments])


def test_text_edits_and_travels_in_the_picture(photo: Path, capsys) -> None:
    assert edit(photo, "--text", "face -> old face = 1 @ 0.2", "--text", "face -> smiling = -.5", "--json") == 0
    wanted = ["face -> old face = 1 @ 0.2", "face -> smiling = -0.5"]
    assert json.loads(capsys.readouterr().out)["recipe"]["prompts"] == wanted
    out = photo.parent / "out.png"
    first = images.read(out)
    assert not np.array_equal(first, tiny.photo())
    assert edit(photo, "--recipe", str(out)) == 0
    assert np.array_equal(images.read(out), first)


def test_text_at_zero_is_the_photo(photo: Path) -> None:
    assert edit(photo, "--text", "face -> old face = 0") == 0
    assert np.array_equal(images.read(photo.parent / "out.png"), tiny.photo())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not of the form"),
        ("face -> face = 2", "both sides"),
        ("face -> старик = 2", "does not know"),
        ("face -> old face = 2 @ 0.9999", "leaves no channel"),
        ("face -> " + "old " * 500 + "= 1", "at most 200"),
    ],
)
def test_text_that_cannot_be_followed_is_told(photo: Path, capsys, text: str, what: str) -> None:
    assert edit(photo, "--text", text) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("hfgi: ")
    assert what in last
    assert not (photo.parent / "out.png").exists()


def test_the_style_path_with_zero_offsets_is_the_code_path_bit_for_bit(prompting: Models) -> None:
    generator = prompting.generator
    w = torch.randn(1, generator.config.rows, generator.config.dim, generator=torch.Generator().manual_seed(3))
    offsets = tuple((layer, torch.zeros(1, width)) for layer, width in enumerate(WIDTHS))
    styles = generator.styles(Latents(w, offsets))
    assert torch.equal(generator.finish(generator.begin(styles), styles), generator(w))


def test_prompts_and_sliders_add_up_in_any_order(session: EditSession) -> None:
    strengths, prompts = (
        (("interfacegan/age", 2.0),),
        (Prompt("face", "old face", 0.5), Prompt("face", "bald face", -0.3)),
    )
    one = session.raw(EditRecipe(strengths, prompts))
    other = session.raw(EditRecipe(strengths, prompts[::-1]))
    assert np.array_equal(one, other)
    assert np.array_equal(session.raw(EditRecipe((), (Prompt("face", "old face", 0.0),))), session.raw(EditRecipe()))
