"""The published HFGI computes the same numbers: every stage, from a checkpoint in its published layout.

Figures and seeded weights: tests/parity/README.md. The tolerance is 1e-4; float32 leaves about 5e-6.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import fill
from torch import nn

from hfgi_app import layouts
from hfgi_app.directions import ganspace
from hfgi_app.directions.base import apply
from hfgi_app.directions.ganspace import Components, GANSpace
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.images import resize
from hfgi_app.models import CATALOGUE, Models
from hfgi_app.networks import e4e
from hfgi_app.refine.base import Edit
from hfgi_app.refine.hfgi import HFGI
from hfgi_app.types import Inversion, Latents

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
EXPECTED = np.load(Path(__file__).parent / "parity" / "hfgi_ffhq1024_synthetic.npz")
CASES = ("inversion", "age_p3", "smile_m2", "lip")
LIP = ganspace.PUBLISHED["lip"]


@pytest.fixture(scope="module", autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def families():
    directions = {name: torch.from_numpy(array) for name, array in np.load(fill.FOLDER / "directions.npz").items()}
    published = {
        "mean": directions["mean"],
        "comp": directions["comp34"].expand(LIP.component + 1, 1, -1),
        "std": directions["std34"].expand(LIP.component + 1),
    }
    named = {name: directions[name] for name in ("age", "smile")}
    return {
        "interfacegan": InterfaceGAN(named),
        "ganspace": GANSpace(Components.published(published), {"lip": LIP}),
    }


@pytest.fixture(scope="module")
def models(families) -> Models:
    state = {}
    for name, (shape, crc) in fill.keys().items():
        array = fill.values(name, shape)
        assert zlib.crc32(array) == crc, f"the seeded values of {name} differ from those the figures were made with"
        state[name] = torch.from_numpy(array)
    checkpoint = {"latent_avg": state.pop("latent_avg"), "state_dict": state, "opts": {}}
    tensors, metadata = layouts.translate(checkpoint)
    info = next(info for info in CATALOGUE if info.name == "ffhq-1024")
    return Models(info, tensors, json.loads(metadata["config"]), families, torch.device("cpu"))


class Stages:
    """Compares stages with the figures and remembers which were compared."""

    def __init__(self) -> None:
        self.compared: set[str] = set()

    def check(self, stage: str, tensor: torch.Tensor) -> None:
        assert self.distance(stage, tensor) <= TOLERANCE, stage

    def distance(self, stage: str, tensor: torch.Tensor) -> float:
        """Largest absolute difference to any of the stage's figures."""
        found = {stage: tensor.numpy()} if stage in EXPECTED.files else self._figures(stage, tensor)
        self.compared |= found.keys()
        return max(float(np.abs(EXPECTED[name] - array).max()) for name, array in found.items())

    def _figures(self, stage: str, tensor: torch.Tensor) -> dict[str, np.ndarray]:
        self.compared.add(f"{stage}__idx")
        flat = tensor.numpy().reshape(-1)  # C order, whatever the memory format
        cells = tensor[0].double().unflatten(2, (16, -1)).unflatten(1, (16, -1)).mean((2, 4)).numpy()
        return {
            f"{stage}__shape": np.array(tensor.shape),
            f"{stage}__grid": cells[: len(EXPECTED[f"{stage}__grid"])],
            f"{stage}__samples": flat[EXPECTED[f"{stage}__idx"]],
            f"{stage}__mean": flat.mean(dtype=np.float64),
            f"{stage}__std": flat.std(dtype=np.float64),
        }


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages()


@contextmanager
def listening(module: nn.Module, hear: Callable[[Any, Any], None]) -> Iterator[None]:
    """Hear what goes into a module and what comes out."""

    def hook(_module: nn.Module, given: Any, output: Any) -> None:
        hear(given, output)

    handle = module.register_forward_hook(hook)
    yield
    handle.remove()


@pytest.fixture(scope="module")
def inversion(models: Models, stages: Stages) -> Inversion:
    """The inversion; what passes inside the encoder is compared on its way."""
    _, c1, c2, c3 = models.encoder.stages
    with (
        listening(c1, lambda given, output: stages.check("enc_c1", output)),
        listening(c2, lambda given, output: stages.check("enc_c2", output)),
        listening(c3, lambda given, output: stages.check("enc_c3", output)),
    ):
        return models.invert(fill.picture())


def edited(case: str, models: Models, inversion: Inversion) -> Latents:
    """The edited latents, through the direction families, in the published strengths."""
    if case == "inversion":
        return Latents(inversion.codes)
    space = models.families["ganspace"]
    assert isinstance(space, GANSpace)
    family, name, strength = {
        "age_p3": ("interfacegan", "age", 3.0),
        "smile_m2": ("interfacegan", "smile", -2.0),
        "lip": ("ganspace", "lip", space.relative(LIP, inversion)),
    }[case]
    return apply(inversion.codes, [(strength, models.families[family].delta(name, inversion))])


def rendered(case: str, models: Models, inversion: Inversion, edit: Edit, stages: Stages) -> torch.Tensor:
    """The method's render; what passes between its networks is compared on its way."""
    refiner = models.refiner("hfgi")
    assert isinstance(refiner, HFGI)

    def alignment(given: Any, output: Any) -> None:
        stages.check(f"{case}.edit256", given[1])
        stages.check(f"{case}.aligned", output)

    def consultation(given: Any, output: Any) -> None:
        stages.check(f"{case}.scale", output[0])
        stages.check(f"{case}.shift", output[1])

    with listening(refiner.alignment, alignment), listening(refiner.consultation, consultation):
        return refiner.render(refiner.consult(inversion), edit)


def test_once_per_photo(inversion: Inversion, models: Models, stages: Stages) -> None:
    stages.check("input", inversion.source)
    stages.check("codes", inversion.codes)
    stages.check("codes_without_avg", inversion.codes - models.encoder.latent_avg)
    stages.check("lowrate1024", inversion.coarse)
    stages.check("lowrate256", resize(inversion.coarse.clamp(-1, 1), 256))
    stages.check("distortion", inversion.distortion)


@pytest.mark.parametrize("case", CASES)
def test_edit(case: str, models: Models, inversion: Inversion, stages: Stages) -> None:
    latents = edited(case, models, inversion)
    stages.check(f"{case}.codes", latents.w)
    styles = models.generator.styles(latents)
    partial = models.generator.begin(styles)
    coarse = inversion.coarse if case == "inversion" else models.generator.finish(partial, styles)
    stages.check(f"{case}.edit1024_nocond", coarse)
    final = rendered(case, models, inversion, Edit(inversion.codes, latents.w, styles, partial, coarse), stages)
    stages.check(f"{case}.final1024", final)
    stages.check(f"{case}.meanabs_cond_effect", (final - coarse).abs().mean())
    small = resize(final, 256)
    stages.check(f"{case}.final256", small)
    levels = ((small[0].permute(1, 2, 0) + 1) / 2).clamp(0, 1).mul(255)[::16, ::16]  # published: truncated, not rounded
    assert np.abs(levels.numpy() - 0.5 - EXPECTED[f"{case}.final256_u8_top"]).max() <= 0.5 + 255 * TOLERANCE
    stages.compared.add(f"{case}.final256_u8_top")


def test_nothing_was_left_out(stages: Stages) -> None:
    """Runs after the tests above, which compare every figure there is."""
    if not {"codes", *(f"{case}.final256_u8_top" for case in CASES)} <= stages.compared:
        pytest.skip("only some of the comparisons ran")
    assert stages.compared == set(EXPECTED.files)


def test_the_tolerance_notices_small_mistakes(
    models: Models, inversion: Inversion, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these is a mistake that reimplementations make, and far outside the tolerance."""
    refiner, space, coarse = models.refiner("hfgi"), models.families["ganspace"], inversion.coarse
    assert isinstance(refiner, HFGI)
    assert isinstance(space, GANSpace)
    unclamped = inversion.source - resize(coarse, 256)
    assert stages.distance("distortion", unclamped) > 100 * TOLERANCE
    swapped = refiner.alignment(resize(coarse.clamp(-1, 1), 256), inversion.distortion)
    assert stages.distance("inversion.aligned", swapped) > 100 * TOLERANCE
    row_10 = replace(inversion, codes=inversion.codes[:, 10:])
    strength = space.relative(LIP, row_10)
    lip = apply(inversion.codes, [(strength, space.delta("lip", inversion))])
    assert stages.distance("lip.codes", lip.w) > 100 * TOLERANCE
    monkeypatch.setattr(e4e, "_enlarge", lambda x, like: F.interpolate(x, size=like.shape[-2:], mode="bilinear"))
    codes, _ = models.encoder(inversion.source)
    assert stages.distance("codes", codes) > 100 * TOLERANCE
