"""Families of directions: zero is no edit, order never matters, sums are sums; and published files become sliders."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import pytest
import tiny
import torch

import hfgi_app.directions
from hfgi_app.directions import ganspace
from hfgi_app.directions.base import apply
from hfgi_app.directions.ganspace import Components, GANSpace, Preset
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.errors import WeightsError
from hfgi_app.images import to_tensor
from hfgi_app.models import Models, published_families
from hfgi_app.networks.stylegan2 import GeneratorConfig
from hfgi_app.types import Delta, EditRecipe, Inversion, Latents

FAMILIES = tiny.families()
SLIDERS = [slider.name for family in FAMILIES.values() for slider in family.sliders()]
PUBLISHED = GeneratorConfig((4,) * 9, dim=8)
"""A generator with the 18 rows of the published one."""


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
    modules = {f"hfgi_app.directions.{path.stem}" for path in folder.glob("*.py")} - {
        "hfgi_app.directions.__init__",
        "hfgi_app.directions.base",
    }
    assert {type(family).__module__ for family in FAMILIES.values()} == modules
    assert all(name == family.name for name, family in FAMILIES.items())


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
def test_strength_is_linear_and_a_delta_is_one_unit(slider: str, inversion: Inversion) -> None:
    unit = delta(slider, inversion).w
    assert unit is not None
    assert unit.shape == inversion.codes.shape
    for strength in (-2.0, 0.5, 3.0):
        torch.testing.assert_close(edited(inversion, (slider, strength)).w, inversion.codes + strength * unit)


def test_offsets_in_style_space_add_up_by_layer(inversion: Inversion) -> None:
    one, two = torch.randn(1, 8), torch.randn(1, 8)
    here, there = Delta(styles=((5, one), (2, two))), Delta(styles=((2, one),))
    latents = apply(inversion.codes, [(2.0, here), (-1.0, there)])
    assert torch.equal(latents.w, inversion.codes)
    assert [layer for layer, _ in latents.styles] == [2, 5]
    torch.testing.assert_close(latents.styles[0][1], 2 * two - one)
    torch.testing.assert_close(latents.styles[1][1], 2 * one)


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
    families = published_families(tmp_path, PUBLISHED)
    names = [slider.name for family in families.values() for slider in family.sliders()]
    assert names == [f"interfacegan/{name}" for name in ("age", "smile", "pose")] + [
        f"ganspace/{name}" for name in ganspace.PUBLISHED
    ]
    wide = Inversion(**{**vars(inversion), "codes": torch.zeros(1, 18, 8)})
    assert torch.equal(families["interfacegan"].delta("pose", wide).w, vectors["pose"])
    assert torch.equal(families["interfacegan"].delta("age", wide).w, vectors["age"].expand(1, 18, 8))
    moved = families["ganspace"].delta("beard", wide).w
    assert moved is not None
    assert moved[0].abs().sum(1).nonzero()[:, 0].tolist() == [7, 8]


def test_files_that_are_not_there_have_no_sliders(tmp_path: Path) -> None:
    save_published(tmp_path)
    for name in ("age", "pose", "ffhq_pca"):
        (tmp_path / f"{name}.pt").unlink()
    families = published_families(tmp_path, PUBLISHED)
    assert [slider.name for family in families.values() for slider in family.sliders()] == ["interfacegan/smile"]


def test_a_folder_without_directions_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(WeightsError, match="The directions folder holds none"):
            published_families(folder, PUBLISHED)


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
        published_families(tmp_path, PUBLISHED)


def test_a_text_named_like_a_direction_is_refused(tmp_path: Path) -> None:
    (tmp_path / "age.pt").write_text("older")
    with pytest.raises(WeightsError, match=r"age\.pt"):
        published_families(tmp_path, PUBLISHED)
