"""Directions of one's own: fitted from labels or scores, principal components, names; and their commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

import hfgi_app.models
from hfgi_app import images, weights
from hfgi_app.cli import main
from hfgi_app.directions import build
from hfgi_app.errors import RecipeError, WeightsError
from hfgi_app.models import Models
from hfgi_app.train import components, data, fit, samples
from hfgi_app.types import Inversion

DIM, ROWS = tiny.GENERATOR.dim, tiny.GENERATOR.rows


def faces(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes of unequal spread, a direction, and values that go with it but for some noise."""
    rng = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(DIM, generator=rng), dim=0)
    codes = torch.randn(count, DIM, generator=rng) * torch.linspace(0.5, 2, DIM) + 3
    return codes, direction, codes @ direction + 0.1 * torch.randn(count, generator=rng)


# --- InterfaceGAN ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.1, 60])
def test_a_boundary_is_found_from_both_ends(share: float) -> None:
    codes, direction, values = faces()
    values[::7] = torch.nan
    found = fit.boundary(codes, values, share)
    assert float(found.normal.norm()) == pytest.approx(1)
    assert float(found.normal @ direction) > 0.97
    assert found.accuracy > 0.9
    each = {0.5: 171, 0.1: 34, 60: 60}[share]
    assert found.fitted + found.held_out == 2 * each
    assert found.held_out / (2 * each) == pytest.approx(0.3, abs=0.02)
    assert found.spread == pytest.approx(float((codes @ found.normal).std()))


def test_a_boundary_from_two_words_and_twice_the_same() -> None:
    codes, direction, values = faces()
    words = (values > values.quantile(0.7)).float()
    first, second = (fit.boundary(codes, words, 0.5) for _ in range(2))
    assert torch.equal(first.normal, second.normal)
    assert float(first.normal @ direction) > 0.95
    assert first.fitted + first.held_out == 240


def test_a_boundary_of_noise_is_no_better_than_chance() -> None:
    codes, _, _ = faces()
    noise = torch.randn(400, generator=torch.Generator().manual_seed(5))
    assert fit.boundary(codes, noise, 0.5).accuracy < 0.65


@pytest.mark.parametrize("values", [torch.full((400,), torch.nan), torch.ones(400), torch.arange(400.0).clamp(max=4)])
def test_ends_that_do_not_differ_are_refused(values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"^Too few faces differ .*\.$"):
        fit.boundary(faces()[0], values, 0.5)


@pytest.mark.parametrize("rows", [1, 4])
def test_what_is_held_is_not_moved(rows: int) -> None:
    rng = torch.Generator().manual_seed(1)
    n1 = torch.nn.functional.normalize(torch.randn(1, DIM, generator=rng), dim=1)
    others = [torch.randn(1, DIM, generator=rng), torch.randn(rows, DIM, generator=rng)]
    left = fit.conditional(n1, [*others, others[0]])
    assert left.shape == (rows, DIM)
    assert float(left.square().sum(1).mean()) == pytest.approx(1)
    assert all(abs(float((left * other).sum())) < 1e-5 for other in others)
    assert float((left * n1).sum()) > 0
    one = fit.conditional(n1, others[:1])
    part = n1 - (n1 @ others[0].T) / others[0].square().sum() * others[0]
    torch.testing.assert_close(one, part / part.norm())
    with pytest.raises(ValueError, match="Nothing of that direction"):
        fit.conditional(n1, [n1])


def test_only_the_models_own_directions_can_be_held(models: Models) -> None:
    assert [len(one) for one in fit.held(models, ["interfacegan/age", "interfacegan/pose"])] == [1, ROWS]
    for name in ("interfacegan/wings", "ganspace/eyes", "age"):
        with pytest.raises(RecipeError, match=r"can be held, not"):
            fit.held(models, [name])


def test_samples_are_faces_of_their_seeds(models: Models, tmp_path: Path) -> None:
    samples.write(models, tmp_path, 12, seed=5)
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == [str(seed) for seed in range(5, 17)]
    assert all(images.read(tmp_path / row["file"]).shape == (models.size, models.size, 3) for row in rows)
    pack = data.gather([tmp_path], models.encoder_size)
    codes = fit.codes(models, pack)
    assert torch.equal(codes[2:3], samples.mapped(models, 7))
    del pack.labels["seed"]
    read = fit.codes(models, pack)
    crop = pack.batch(torch.tensor([2]), models.encoder_size, models.device)
    torch.testing.assert_close(read[2], models.encoder(crop)[0][0].mean(0))


# --- GANSpace --------------------------------------------------------------------------------------------------------


def test_components_are_those_of_the_mapped_samples(models: Models) -> None:
    found, again = (components.analyse(models, 9000) for _ in range(2))
    assert torch.equal(found.directions, again.directions)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(DIM), atol=1e-5, rtol=0)
    assert found.deviations.diff().le(0).all()
    with torch.no_grad():
        w = models.generator.mapping(torch.randn(20_000, DIM, generator=torch.Generator().manual_seed(9)))
    torch.testing.assert_close(found.mean, w.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(((w - found.mean) @ found.directions.T).std(0), found.deviations, atol=0.03, rtol=0.03)


def test_components_get_names_and_lose_them(models: Models, tmp_path: Path, inversion: Inversion) -> None:
    path = components.save(tmp_path / "own", components.analyse(models, 5000))
    tensors, config = tiny.tensors(), tiny.CONFIG
    assert len(build(tensors, config, tmp_path / "own")["ganspace"].sliders()) == 8
    components.name(path, ["Big hat = 3 @ 2:4", "No beard=-1@0:8"])
    family = build(tensors, config, tmp_path / "own")["ganspace"]
    assert [(slider.name, slider.label) for slider in family.sliders()] == [
        ("ganspace/big_hat", "Big hat"),
        ("ganspace/no_beard", "No beard"),
    ]
    parts = family.components
    hat, beard = family.delta("big_hat", inversion).w, family.delta("no_beard", inversion).w
    torch.testing.assert_close(hat[0, 2:4], (parts.deviations[2] * parts.directions[2]).expand(2, -1))
    torch.testing.assert_close(beard[0], -(parts.deviations[0] * parts.directions[0]).expand(8, -1))
    components.name(path, ["Hat = 3 @ 2:4"])
    assert [slider.label for slider in build(tensors, config, path.parent)["ganspace"].sliders()] == ["Hat"]


@pytest.fixture
def inversion(models: Models) -> Inversion:
    return models.invert(torch.zeros(1, 3, models.encoder_size, models.encoder_size))


@pytest.mark.parametrize(
    "naming", ["Hat", "Hat = 0 @ 0:4", "Hat = 9 @ 0:4", "Hat = 3 @ 4:4", "= 3 @ 0:4", "Hat = x @ 0:4"]
)
def test_a_naming_of_another_form_is_told(models: Models, tmp_path: Path, naming: str) -> None:
    path = components.save(tmp_path, components.analyse(models, 5000))
    with pytest.raises(ValueError, match=r'is not "LABEL = COMPONENT @ START:END" with a component of 1 to 8\.$'):
        components.name(path, [naming])
    weights.save(tmp_path / "else.safetensors", {"interfacegan.age": torch.ones(8)}, {})
    with pytest.raises(WeightsError, match=r"^else\.safetensors holds no principal components"):
        components.name(tmp_path / "else.safetensors", ["Hat = 3 @ 0:4"])


def test_a_sheet_shows_each_component_of_each_face(models: Models, tmp_path: Path) -> None:
    crops = [torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)]
    components.sheet(models, tmp_path / "sheet.png", range(2, 5), 0, None, crops)
    picture = images.read(tmp_path / "sheet.png").astype(int)
    assert picture.shape == (6 * models.size, 7 * models.size, 3)
    tiles = picture.reshape(6, models.size, 7, models.size, 3).swapaxes(1, 2)
    assert (tiles[0, 3] == tiles[2, 3]).all()
    assert (tiles[1, 3] == tiles[5, 3]).all()
    assert (tiles[0, 0] != tiles[0, 6]).any()
    components.sheet(models, tmp_path / "average.png", range(1, 2), 2, 4, [])
    assert images.read(tmp_path / "average.png").shape == (models.size, 7 * models.size, 3)
    with pytest.raises(WeightsError, match=r"^The model has no such components"):
        components.sheet(models, tmp_path / "none.png", range(4, 6), 0, None, [])


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch) -> None:
    """The tiny model is the embedded one."""
    monkeypatch.setattr(hfgi_app.models, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights" / "portrait").mkdir(parents=True)
    weights.save(
        tmp_path / "weights" / "portrait" / "base.safetensors", tiny.tensors(), {"config": json.dumps(tiny.CONFIG)}
    )


def run(capsys, *arguments: object) -> object:
    assert main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def labelled(folder: Path, count: int = 40) -> Path:
    """Pictures whose brightness is a label."""
    folder.mkdir()
    lines = ["file,split,light,side"]
    for number in range(count):
        Image.fromarray(tiny.photo(64, 64, number) // 4 + 4 * number).save(folder / f"{number}.png")
        lines.append(f"{number}.png,train,{number / 4},{'left' if number % 3 else 'right'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_from_pictures_to_sliders(embedded: None, tmp_path: Path, capsys) -> None:
    own, pictures = tmp_path / "own", labelled(tmp_path / "pictures")
    report = json.loads(run(capsys, "directions", "fit", pictures, "light", "-o", own, "--json"))[0]
    assert report["file"] == str(own / "light.safetensors")
    assert report["fitted"] + report["held_out"] == 18  # a quarter of 39: one is kept for testing
    assert 0.5 <= report["accuracy"] <= 1
    hold = ("--hold", "interfacegan/light", "--directions", own)
    run(capsys, "directions", "fit", pictures, "side", "-o", own, "--name", "turn", "--label", "Turn it", *hold)
    run(capsys, "directions", "pca", "-o", own, "--samples", 5000)
    assert run(capsys, "directions", "name", own / "pca.safetensors", "Hat = 2 @ 0:4") == ""
    listing = json.loads(run(capsys, "sliders", "--directions", own, "--json"))
    labels = {row["name"]: row["label"] for row in listing if row["family"] != "sefa"}
    assert labels == {"interfacegan/light": "Light", "interfacegan/turn": "Turn it", "ganspace/hat": "Hat"}
    families = json.loads(run(capsys, "directions", "list", "--directions", own, "--json"))
    assert [(row["name"], row["sliders"]) for row in families][:2] == [("interfacegan", 2), ("ganspace", 1)]
    run(capsys, "directions", "sheet", "-o", tmp_path / "sheet.png", "--components", "1:3", "--directions", own)
    assert (tmp_path / "sheet.png").exists()
    out = tmp_path / "out.png"
    lighter = ("--set", "interfacegan/light=1", "--set", "ganspace/hat=1", "--aligned")
    run(capsys, "edit", pictures / "3.png", "-o", out, *lighter, "--directions", own)
    assert out.exists()


def test_from_scored_samples_to_a_slider(embedded: None, tmp_path: Path, capsys) -> None:
    made, own = tmp_path / "samples", tmp_path / "own"
    run(capsys, "directions", "samples", 60, "-o", made, "--seed", 3)
    table = (made / "labels.csv").read_text().splitlines()
    first = [float(samples.mapped(tiny.models(), 3 + number)[0, 0]) for number in range(60)]
    scored = [f"{table[0]},score", *(f"{line},{value}" for line, value in zip(table[1:], first, strict=True))]
    (made / "labels.csv").write_text("\n".join(scored))
    run(capsys, "directions", "fit", made, "score", "-o", own, "--share", 0.5)
    direction = weights.load(own / "score.safetensors")[0]["interfacegan.score"]
    assert int(direction[0].abs().argmax()) == 0
    assert direction[0, 0] > 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("fit", "PICTURES", "wings", "-o", "OWN"), "no column 'wings'"),
        (("fit", "PICTURES", "light", "-o", "OWN", "--share", "3"), "Too few faces differ"),
        (("fit", "PICTURES", "light", "-o", "OWN", "--hold", "sefa/coarse_1"), "can be held"),
        (("sheet", "-o", "OWN.png"), "no such components"),
        (("name", "OWN.safetensors", "Hat = 1 @ 0:4"), "missing"),
    ],
)
def test_what_cannot_be_made_is_told(embedded: None, tmp_path: Path, capsys, arguments, what) -> None:
    places = {"PICTURES": str(labelled(tmp_path / "pictures", 20))}
    given = [places.get(argument, argument.replace("OWN", str(tmp_path / "own"))) for argument in arguments]
    assert main(["directions", *given]) == 1
    said = capsys.readouterr()
    assert what in said.err.splitlines()[-1]
    assert said.out == ""
    assert not list(tmp_path.glob("own*"))
