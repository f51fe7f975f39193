"""Families of directions: zero is no edit, order never matters, sums are sums; and published files become sliders."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import combinations, permutations
from pathlib import Path

import pytest
import tiny
import torch

import hfgi_app.directions
from hfgi_app import weights
from hfgi_app.directions import build, ganspace
from hfgi_app.directions.base import Family, apply
from hfgi_app.directions.ganspace import Components, GANSpace, Preset
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.directions.sefa import LAYERS, SeFa
from hfgi_app.directions.styleclip import StyleCLIP
from hfgi_app.errors import WeightsError
from hfgi_app.images import to_tensor
from hfgi_app.models import Models
from hfgi_app.networks.stylegan2 import GeneratorConfig
from hfgi_app.types import Curve, Delta, EditRecipe, Inversion, Latents

FAMILIES = tiny.families()
SLIDERS = [slider.name for family in FAMILIES.values() for slider in family.sliders()]


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(to_tensor(tiny.photo(64, 64)))


def delta(slider: str, inversion: Inversion) -> Delta:
    family, _, name = slider.partition("/")
    return FAMILIES[family].delta(name, inversion)


def edited(inversion: Inversion, *strengths: tuple[str, float]) -> Latents:
    """The codes after a recipe, as a session makes them."""
    recipe = EditRecipe(strengths)
    return apply(inversion.codes, [(value, delta(name, inversion)) for name, value in recipe.strengths])


def test_every_family_is_tested_here() -> None:
    folder = Path(hfgi_app.directions.__file__).parent
    modules = {f"hfgi_app.directions.{path.stem}" for path in folder.iterdir() if not path.name.startswith("_")}
    known = {family.__module__ for family in hfgi_app.directions.FAMILIES}
    assert known == modules - {"hfgi_app.directions.base"}
    typed = [StyleCLIP]  # no text model is as small as this: test_styleclip
    assert [type(family) for family in FAMILIES.values()] == [
        family for family in hfgi_app.directions.FAMILIES if family not in typed
    ]
    assert all(name == family.group.name for name, family in FAMILIES.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_sliders_say_where_zero_is(family: str) -> None:
    for slider in FAMILIES[family].sliders():
        assert slider.name.startswith(f"{family}/")
        assert slider.family == family
        assert slider.low < 0 < slider.high
        assert 0 < slider.step <= slider.high / 10
        assert slider.label


@pytest.mark.parametrize("slider", SLIDERS)
def test_zero_is_exactly_no_edit(slider: str, inversion: Inversion) -> None:
    one = delta(slider, inversion)
    assert torch.equal(edited(inversion, (slider, 0.0)).w, inversion.codes)
    assert torch.equal(apply(inversion.codes, [(0.0, one)]).w, inversion.codes)
    assert torch.equal(apply(inversion.codes, []).w, inversion.codes)
    assert not torch.equal(apply(inversion.codes, [(0.1, one)]).w, inversion.codes)


@pytest.mark.parametrize(("first", "second"), list(combinations(SLIDERS, 2)))
def test_order_never_matters_and_sums_are_sums(first: str, second: str, inversion: Inversion) -> None:
    here, there = (first, 0.7), (second, -1.3)
    both = edited(inversion, here, there).w
    assert torch.equal(both, edited(inversion, there, here).w)
    apart = edited(inversion, here).w + edited(inversion, there).w - inversion.codes
    torch.testing.assert_close(both, apart, atol=1e-6, rtol=0)


def test_many_sliders_in_any_order_give_the_same_bits(inversion: Inversion) -> None:
    moves = [(name, 0.1 * number + 0.03) for number, name in enumerate(SLIDERS[:4], 1)]
    results = [edited(inversion, *order).w for order in permutations(moves)]
    assert all(torch.equal(results[0], other) for other in results)


@pytest.mark.parametrize("slider", SLIDERS)
def test_strength_is_linear_and_a_delta_is_one_step(slider: str, inversion: Inversion) -> None:
    unit = delta(slider, inversion).w
    assert unit is not None
    assert unit.shape == inversion.codes.shape
    for strength in (-2.0, 0.5, 3.0):
        torch.testing.assert_close(edited(inversion, (slider, strength)).w, inversion.codes + strength * unit)


# --- units -----------------------------------------------------------------------------------------------------------


def test_a_curve_goes_through_its_points_and_straight_on() -> None:
    curve = Curve((-10, -4, 0, 2, 6), (-30, -6, 0, 1, 5))
    assert [curve(strength) for strength in (-10, -4, 0, 2, 6)] == [-30, -6, 0, 1, 5]
    assert [curve(strength) for strength in (-7, -2, 1, 4)] == [-18, -3, 0.5, 3]
    assert [curve(strength) for strength in (-12, 8)] == [-38, 7]
    assert all(Curve()(strength) == strength for strength in (-2.5, 0.0, 0.1))


@pytest.mark.parametrize(
    "points",
    [
        ((0, 1), (0, 1)),
        ((-1, 0), (-1, 0)),
        ((-1, 1), (-1, 1)),
        ((-1, 0, 1), (-1, 0.5, 1)),
        ((-1, 0, 1), (1, 0, -1)),
        ((-1, 0, 1, 1), (-1, 0, 1, 2)),
        ((-1, 0, 1, 2), (-1, 0, 1, 1)),
        ((-1, 0, 1), (-1, 0, float("inf"))),
        ((-1, 0, 1), (-1, 0)),
    ],
)
def test_a_curve_rises_through_zero(points: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"rise|zip"):
        Curve(*points)


def test_a_unit_with_a_curve_is_a_multiple_of_the_delta(inversion: Inversion) -> None:
    facts = {"age": {"label": "Age", "unit": "yr", "curve": [[-20, 0, 20], [-3, 0, 1]]}}
    bent = InterfaceGAN({"age": torch.ones(8), "smile": torch.ones(8)}, facts)
    age, smile = bent.delta("age", inversion), bent.delta("smile", inversion)
    for strength, multiple in ((10.0, 0.5), (-10.0, -1.5), (40.0, 2.0), (-40.0, -6.0)):
        torch.testing.assert_close(apply(inversion.codes, [(strength, age)]).w, inversion.codes + multiple)
    assert torch.equal(apply(inversion.codes, [(0.0, age)]).w, inversion.codes)
    both, turned = ([(-20.0, age), (2.0, smile)], [(2.0, smile), (-20.0, age)])
    assert torch.equal(apply(inversion.codes, both).w, apply(inversion.codes, turned).w)
    torch.testing.assert_close(apply(inversion.codes, both).w, inversion.codes - 3 + 2)


@pytest.mark.parametrize("facts", [{"curve": [[-1, 0, 1], [1, 0, -1]]}, {"curve": 3}, {"low": "left"}, "Age"])
def test_facts_that_say_nothing_are_told(facts: object) -> None:
    with pytest.raises(WeightsError, match=r"^A direction of interfacegan is badly described .*\.$"):
        InterfaceGAN({"age": torch.ones(8)}, {"age": facts})


# --- style space -----------------------------------------------------------------------------------------------------


def test_offsets_in_style_space_add_up_by_layer(inversion: Inversion) -> None:
    one, two = torch.randn(1, 8), torch.randn(1, 8)
    here, there = Delta(styles=((5, one), (2, two))), Delta(styles=((2, one),))
    latents = apply(inversion.codes, [(2.0, here), (-1.0, there)])
    assert torch.equal(latents.w, inversion.codes)
    assert [layer for layer, _ in latents.styles] == [2, 5]
    torch.testing.assert_close(latents.styles[0][1], 2 * two - one)
    torch.testing.assert_close(latents.styles[1][1], 2 * one)


def test_an_offset_of_nothing_is_the_way_through_the_codes_bit_for_bit(models: Models, inversion: Inversion) -> None:
    plain = models.generator.styles(Latents(inversion.codes))
    nothing = Delta(styles=tuple((layer, torch.zeros_like(style)) for layer, style in enumerate(plain.convs)))
    for latents in (apply(inversion.codes, [(3.0, nothing)]), apply(inversion.codes, [(0.0, nothing)])):
        styles = models.generator.styles(latents)
        assert all(torch.equal(one, other) for one, other in zip(styles.convs, plain.convs, strict=True))
        assert torch.equal(models.generator.finish(models.generator.begin(styles), styles), inversion.coarse)
    something = models.generator.styles(Latents(inversion.codes, ((2, torch.full((1, 8), 0.5)),)))
    assert torch.equal(something.convs[2], plain.convs[2] + 0.5)
    assert all(torch.equal(something.convs[layer], plain.convs[layer]) for layer in (0, 1, 3, 4, 5, 6))


# --- one family at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8,), (1, 8), (8, 8), (1, 8, 8)], ids=str)
def test_interfacegan_takes_a_direction_in_any_shape(shape: tuple[int, ...], inversion: Inversion) -> None:
    direction = torch.arange(64.0)[: torch.Size(shape).numel()].reshape(shape)
    unit = InterfaceGAN({"age": direction}).delta("age", inversion).w
    assert unit is not None
    wanted = direction.reshape(-1, 8)
    for row in range(8):
        assert torch.equal(unit[0, row], wanted[row % len(wanted)])


def test_ganspace_moves_its_rows_alone_by_one_deviation(inversion: Inversion) -> None:
    parts = components()
    unit = GANSpace(parts, {"eyes": Preset(2, 3, 5)}).delta("eyes", inversion).w
    assert unit is not None
    for row in range(8):
        expected = parts.deviations[2] * parts.directions[2] if row in (3, 4) else torch.zeros(8)
        torch.testing.assert_close(unit[0, row], expected)


@pytest.mark.parametrize("strength", [-20.0, 0.0, 4.5])
def test_relative_reaches_the_absolute_coordinate(strength: float, inversion: Inversion) -> None:
    parts, preset = components(), Preset(1, 0, 3, strength)
    family = GANSpace(parts, {"lip": preset})
    moved = apply(inversion.codes, [(family.relative(preset, inversion), family.delta("lip", inversion))]).w
    coordinates = (moved[0, :3] - parts.mean) @ parts.directions[1] / parts.deviations[1]
    assert float(coordinates[0]) == pytest.approx(strength, abs=1e-4)
    assert family.relative(Preset(1, 0, 3, strength + 1), inversion) == pytest.approx(
        family.relative(preset, inversion) + 1
    )


def components() -> Components:
    rng = torch.Generator().manual_seed(3)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=rng))[0]
    return Components(torch.randn(8, generator=rng), directions, torch.linspace(2, 0.5, 8))


def test_the_published_edits_are_all_there_and_within_reach() -> None:
    rng = torch.Generator().manual_seed(3)
    family = GANSpace(Components(torch.zeros(8), torch.randn(60, 8, generator=rng), torch.ones(60)))
    sliders = {slider.name.partition("/")[2]: slider for slider in family.sliders()}
    assert len(sliders) == 42 == len({slider.label for slider in sliders.values()})
    for name, preset in ganspace.PUBLISHED.items():
        assert sliders[name].low <= preset.strength <= sliders[name].high
        assert sliders[name].label.startswith("\N{LEFTWARDS ARROW}") == (preset.strength < 0)
        assert 0 <= preset.start < preset.end <= 18


def test_sefa_finds_what_the_layers_answer_to_most(inversion: Inversion) -> None:
    rng = torch.Generator().manual_seed(5)
    affines = [torch.randn(12, 8, generator=rng) for _ in range(7)]
    family = SeFa(affines)
    for group, layers in LAYERS.items():
        some = affines[layers.start : layers.end]
        if not some:
            assert not [slider for slider in family.sliders() if slider.name.startswith(f"sefa/{group}")]
            continue
        unit = torch.cat(some) / torch.cat(some).norm(dim=1, keepdim=True)
        steps = [family.delta(f"{group}_{number}", inversion).w for number in (1, 2, 3)]
        assert all(step[0, row].any() == (layers.start <= row < layers.end) for step in steps for row in range(8))
        found = torch.stack([step[0, layers.start] for step in steps])
        torch.testing.assert_close(found @ found.T, torch.eye(3), atol=1e-5, rtol=0)
        answers = (unit @ found.T).square().sum(0)
        torch.testing.assert_close(answers, torch.linalg.svdvals(unit)[:3] ** 2)
    again = SeFa(affines).delta("coarse_1", inversion).w
    assert torch.equal(again, family.delta("coarse_1", inversion).w)


def test_sefa_is_asked_for(models: Models) -> None:
    assert [(group.name, group.folded) for group in models.groups()] == [
        ("interfacegan", False),
        ("ganspace", False),
        ("sefa", True),
    ]
    assert all(group.label and group.note.endswith(".") for group in models.groups())


# --- what a model has ------------------------------------------------------------------------------------------------


def model(rows: int = 18) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """The generator of a model whose codes are rows x 8, as far as directions look at it."""
    rng = torch.Generator().manual_seed(6)
    names = [f"generator.layers.{row}.conv.affine.weight" for row in range(rows - 1)]
    config = asdict(GeneratorConfig((4,) * (rows // 2), dim=8))
    return {name: torch.randn(4, 8, generator=rng) for name in names}, {"generator": config}


def names(families: dict[str, Family], but: str = "sefa") -> list[str]:
    return [slider.name for name, family in families.items() if name != but for slider in family.sliders()]


def test_a_model_with_nothing_stored_can_be_explored() -> None:
    families = build(*model())
    assert families.keys() == {"sefa"}
    assert len(families["sefa"].sliders()) == 9


def save_own(folder: Path, file: str, tensors: dict[str, torch.Tensor], **config: object) -> None:
    folder.mkdir(exist_ok=True)
    weights.save(folder / f"{file}.safetensors", tensors, {"config": json.dumps(config)})


def test_own_directions_join_the_models(tmp_path: Path, inversion: Inversion) -> None:
    tensors, config = model(8)
    tensors |= {"interfacegan.age": torch.ones(8, 8), "interfacegan.smile": torch.ones(8, 8)}
    config["interfacegan"] = {"age": {"label": "Age"}, "smile": {"label": "Smile"}}
    half = torch.full((8,), 2.0).half()
    save_own(tmp_path, "wings", {"interfacegan.wings": half}, interfacegan={"wings": {"label": "Wings", "unit": "m"}})
    save_own(tmp_path, "smile", {"interfacegan.smile": torch.zeros(1, 8)}, interfacegan={"smile": {"label": "Grin"}})
    save_own(tmp_path, "else", {"generator.const": torch.zeros(3)}, generator={"dim": 3})
    families = build(tensors, config, tmp_path)
    assert names(families) == ["interfacegan/age", "interfacegan/smile", "interfacegan/wings"]
    assert [slider.label for slider in families["interfacegan"].sliders()] == ["Age", "Grin", "Wings"]
    assert torch.equal(families["interfacegan"].delta("wings", inversion).w, torch.full((1, 8, 8), 2.0))
    assert not families["interfacegan"].delta("smile", inversion).w.any()


def components_file(dim: int = 8, count: int = 10) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(7)
    directions = torch.randn(count, dim, generator=rng)
    parts = {"mean": torch.zeros(dim), "directions": directions, "deviations": torch.ones(count)}
    return {f"ganspace.{name}": tensor for name, tensor in parts.items()}


def test_components_are_numbered_until_they_are_named(tmp_path: Path, inversion: Inversion) -> None:
    tensors, config = model(8)
    stored = components_file()
    assert names(build(tensors | stored, config)) == [f"ganspace/component_{number}" for number in range(1, 9)]
    named = {"hat": {"component": 9, "start": 2, "end": 4, "label": "Hat", "low": -4, "high": 2, "unit": "SD"}}
    families = build(tensors | stored, config | {"ganspace": named})
    (slider,) = families["ganspace"].sliders()
    assert (slider.name, slider.label, slider.low, slider.high) == ("ganspace/hat", "Hat", -4, 2)
    unit = families["ganspace"].delta("hat", inversion).w
    torch.testing.assert_close(unit[0, 2:4], stored["ganspace.directions"][[9, 9]])
    assert not unit[0, [0, 1, 4, 5, 6, 7]].any()
    save_own(tmp_path, "pca", components_file(), ganspace={})  # the names were the other components'
    assert len(names(build(tensors | stored, config | {"ganspace": named}, tmp_path))) == 8


@pytest.mark.parametrize(
    ("stored", "facts"),
    [
        (components_file(dim=9), {}),
        (components_file() | {"ganspace.mean": torch.zeros(1, 8)}, {}),
        (components_file(), {"hat": {"component": 10, "start": 0, "end": 2}}),
        (components_file(), {"hat": {"start": 0, "end": 2}}),
        ({"ganspace.mean": torch.zeros(8)}, {}),
    ],
)
def test_components_that_do_not_fit_are_told(stored: dict[str, torch.Tensor], facts: dict[str, object]) -> None:
    tensors, config = model(8)
    with pytest.raises(WeightsError, match=r"^The principal components .*\.$"):
        build(tensors | stored, config | {"ganspace": facts})


def test_a_direction_of_another_model_is_told(tmp_path: Path) -> None:
    save_own(tmp_path, "own", {"interfacegan.hat": torch.ones(12, 8)}, interfacegan={"hat": {}})
    with pytest.raises(WeightsError, match=r"^hat is no direction of this model; expected .*1 x 18 x 8\.$"):
        build(*model(), tmp_path)


# --- published files -------------------------------------------------------------------------------------------------


def save_published(folder: Path) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(4)
    vectors = {"age": torch.randn(1, 8, generator=rng), "smile": torch.randn(1, 8, generator=rng)}
    vectors["pose"] = torch.randn(1, 18, 8, generator=rng)
    for name, vector in vectors.items():
        torch.save(vector, folder / f"{name}.pt")
    torch.save(
        {"mean": torch.zeros(1, 8), "comp": torch.randn(60, 1, 8, generator=rng), "std": torch.linspace(3, 1, 60)},
        folder / "ffhq_pca.pt",
    )
    return vectors


def test_a_published_folder_becomes_sliders(tmp_path: Path, inversion: Inversion) -> None:
    vectors = save_published(tmp_path)
    families = build(*model(), tmp_path)
    assert names(families) == [f"interfacegan/{name}" for name in ("age", "smile", "pose")] + [
        f"ganspace/{name}" for name in ganspace.PUBLISHED
    ]
    wide = Inversion(**{**vars(inversion), "codes": torch.zeros(1, 18, 8)})
    assert torch.equal(families["interfacegan"].delta("pose", wide).w, vectors["pose"])
    assert torch.equal(families["interfacegan"].delta("age", wide).w, vectors["age"].expand(1, 18, 8))
    moved = families["ganspace"].delta("beard", wide).w
    assert moved is not None
    assert moved[0].abs().sum(1).nonzero()[:, 0].tolist() == [7, 8]
    for slider in names(families):
        family, _, name = slider.partition("/")
        assert families[family].delta(name, wide).curve == Curve()


def test_files_that_are_not_there_have_no_sliders(tmp_path: Path) -> None:
    save_published(tmp_path)
    for name in ("age", "pose", "ffhq_pca"):
        (tmp_path / f"{name}.pt").unlink()
    assert names(build(*model(), tmp_path)) == ["interfacegan/smile"]


def test_a_folder_without_directions_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(WeightsError, match="The directions folder holds none"):
            build(*model(), folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("age", torch.zeros(1, 512)),
        ("age", {"age": torch.zeros(1, 8)}),
        ("pose", torch.zeros(1, 12, 8)),
        ("ffhq_pca", torch.zeros(1, 8)),
        ("ffhq_pca", {"mean": torch.zeros(1, 8), "comp": torch.zeros(60, 1, 8)}),
        ("ffhq_pca", {"mean": torch.zeros(1, 8), "comp": torch.zeros(40, 1, 8), "std": torch.zeros(40)}),
        ("ffhq_pca", {"mean": torch.zeros(1, 8), "comp": torch.zeros(60, 1, 8), "std": torch.zeros(())}),
    ],
)
def test_foreign_files_are_named(name: str, content: object, tmp_path: Path) -> None:
    save_published(tmp_path)
    torch.save(content, tmp_path / f"{name}.pt")
    with pytest.raises(WeightsError, match=rf"^{name}\.pt .*expected .*\.$"):
        build(*model(), tmp_path)


def test_a_text_named_like_a_direction_is_refused(tmp_path: Path) -> None:
    (tmp_path / "age.pt").write_text("older")
    with pytest.raises(WeightsError, match=r"age\.pt"):
        build(*model(), tmp_path)
