"""The published HFGI computes the same numbers: every stage, from a checkpoint in its published layout.

Figures and seeded weights: tests/parity/README.md. The tolerance is 1e-4; float32 leaves about 5e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from parity import fill, published
from parity.published import LIP, TOLERANCE, Stages, edited, listening

from hfgi_app.directions.base import apply
from hfgi_app.directions.ganspace import GANSpace
from hfgi_app.images import resize
from hfgi_app.models import Models
from hfgi_app.networks import e4e
from hfgi_app.refine.base import Edit
from hfgi_app.refine.hfgi import HFGI
from hfgi_app.types import Inversion

pytestmark = pytest.mark.slow
CASES = ("inversion", "age_p3", "smile_m2", "lip")


@pytest.fixture(scope="module", autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def models() -> Models:
    state = fill.state("hfgi")
    return published.models({"latent_avg": state.pop("latent_avg"), "state_dict": state, "opts": {}})


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages("hfgi")


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
    levels = ((small[0] + 1) / 2).clamp(0, 1).mul(255)[:, ::16, ::16]
    stages.check_levels(f"{case}.final256_u8_top", levels, rounded=False)


def test_nothing_was_left_out(stages: Stages) -> None:
    """Runs after the tests above, which compare every figure there is."""
    if not {"codes", *(f"{case}.final256_u8_top" for case in CASES)} <= stages.compared:
        pytest.skip("only some of the comparisons ran")
    assert stages.compared == set(stages.expected.files)


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
