"""Units of sliders: what is read of edited faces becomes a curve, and a range that ends where the effect does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from hfgi_app import weights
from hfgi_app.directions import build
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.models import CATALOGUE, Models, embedded_tensors
from hfgi_app.train import calibrate, data
from hfgi_app.types import Curve, Photo

MULTIPLES = np.linspace(-4, 4, 9)
CPU = torch.device("cpu")


def values(changes: list[float], lost: int | None = None) -> np.ndarray:
    """Ten faces, each from its own start, that change alike; in one column most are not seen."""
    found = np.arange(10.0)[:, None] + np.array(changes)
    if lost is not None:
        found[:8, lost] = np.nan
    return found


def test_a_steady_effect_is_its_own_unit() -> None:
    found = calibrate.curve(MULTIPLES, values([-8, -6, -4, -2, 0, 2, 4, 6, 8]), per=2)
    assert found == Curve((-4, -3, -2, -1, 0, 1, 2, 3, 4), tuple(MULTIPLES))


def test_a_range_ends_where_the_effect_does() -> None:
    fading = calibrate.curve(MULTIPLES, values([-5.2, -5.1, -4, -2, 0, 2, 4, 4.1, 4.2]), per=1)
    assert fading is not None
    assert fading.strengths == (-5.1, -4, -2, 0, 2, 4)
    back = calibrate.curve(MULTIPLES, values([-1, -2, -3, -2, 0, 2, 4, 6, 5]), per=1)
    assert back is not None
    assert (back.multiples[0], back.multiples[-1]) == (-2, 3)


def test_a_range_ends_where_the_face_does() -> None:
    found = calibrate.curve(MULTIPLES, values([-8, -6, -4, -2, 0, 2, 4, 6, 8], lost=7), per=1)
    assert found is not None
    assert found.multiples[-1] == 2


def test_where_most_are_at_the_end_already_the_other_side_counts() -> None:
    found = calibrate.curve(MULTIPLES, values([0, 0, 0, 0, 0, 1, 3, 4, 4]), per=1)
    assert found == Curve((-3, -1, 0, 1, 3, 4), (-2, -1, 0, 1, 2, 3))
    found = calibrate.curve(MULTIPLES, values([-4, -3, -2, -1, 0, 0, 0, 0, 0]), per=1)
    assert found == Curve((-4, -3, -2, -1, 0, 1, 2), (-4, -3, -2, -1, 0, 1, 2))


@pytest.mark.parametrize("changes", [[0.0] * 9, [8, 6, 4, 2, 0, -2, -4, -6, -8]])
def test_no_effect_or_a_wrong_one_is_no_unit(changes: list[float]) -> None:
    assert calibrate.curve(MULTIPLES, values(changes), per=1) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with a slider that makes pictures lighter, one that does so too little, one that
    nobody measures, and one without effect."""
    config = {name: tiny.CONFIG[name] for name in ("generator", "encoder")}
    tensors = tiny.tensors()
    networks = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in config}
    weights.save(tmp_path / "base.safetensors", networks, {"config": json.dumps(config)})
    models = Models(CATALOGUE[0], tensors, config, build(networks, config), CPU)
    direction = _lighter(models)
    facts = {"label": "Light", "unit": "levels", "low": -1, "high": 1, "step": 0.5}
    named = {
        "light": {**facts, "attribute": "light", "per": 0.01, "reach": 3},
        "weak": {**facts, "attribute": "light", "per": 100.0, "reach": 3},
        "unread": facts,
        "idle": {**facts, "attribute": "light", "per": 1.0, "reach": 3},
    }
    kept = {
        "interfacegan.light": direction,
        "interfacegan.weak": direction.clone(),
        "interfacegan.unread": direction.clone(),
        "interfacegan.idle": torch.zeros_like(direction) + 1e-9,
    }
    weights.save(tmp_path / "directions.safetensors", kept, {"config": json.dumps({"interfacegan": named})})
    return tmp_path


def _lighter(models: Models) -> torch.Tensor:
    codes = models.encoder.latent_avg[None].clone().requires_grad_()
    with torch.enable_grad():
        models.generator(codes).mean().backward()
    assert codes.grad is not None
    return codes.grad[0] / codes.grad.norm()


def light(pack: data.Pack) -> calibrate.Read:
    assert 0 < int(pack.test.sum()) < len(pack.test)

    def read(picture: Photo) -> dict[str, float]:
        return {"light": float(picture.mean())}

    return read


def test_sliders_of_a_model_move_the_median_face_by_their_units(folder: Path) -> None:
    size = 64
    photos = np.stack([tiny.photo(size, size, seed) for seed in range(40)])
    test = torch.arange(40) < 4
    pictures = torch.from_numpy(photos).permute(0, 3, 1, 2).contiguous()
    pack = data.Pack(pictures, pictures[:, :1], torch.ones(40, dtype=torch.bool), test, tuple(map(str, range(40))), {})
    before = {path.name: weights.load(path)[0] for path in folder.glob("*.safetensors")}
    found = calibrate.calibrate(folder, pack, light, CPU)
    assert found.keys() == {"light"}
    tensors, config = embedded_tensors(folder)
    family = build(tensors, config)["interfacegan"]
    assert isinstance(family, InterfaceGAN)
    slider = next(one for one in family.sliders() if one.name == "interfacegan/light")
    ends = found["light"].strengths
    assert ends[0] <= slider.low < 0 < slider.high <= ends[-1]
    assert slider.low == round(slider.low / 0.5) * 0.5
    assert config["interfacegan"]["unread"] == {"label": "Light", "unit": "levels", "low": -1, "high": 1, "step": 0.5}
    for path in folder.glob("*.safetensors"):
        kept = weights.load(path)[0]
        assert all(torch.equal(tensor, kept[name]) for name, tensor in before[path.name].items())
    again = calibrate.calibrate(folder, pack, light, CPU)
    assert again == found


def test_judges_learn_from_one_half_and_read_the_other() -> None:
    pictures, test = torch.zeros(10, 3, 4, 4, dtype=torch.uint8), torch.arange(10) >= 6
    names, labels = tuple(map(str, range(10))), {"smile": torch.arange(10.0)}
    found = calibrate.halves(
        data.Pack(pictures, pictures[:, :1], torch.ones(10, dtype=torch.bool), test, names, labels)
    )
    assert found.names == tuple("012345")
    assert found.test.tolist() == [False, True] * 3
    assert found.labels["smile"].tolist() == list(range(6))
