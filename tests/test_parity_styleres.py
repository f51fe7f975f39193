"""The published StyleRes computes the same numbers: every stage, from a checkpoint in its published layout.

Figures and seeded weights: tests/parity/README.md. The tolerance is 1e-4; float32 leaves about 5e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from parity import fill, published
from parity.published import TOLERANCE, Stages, edited, listening

from hfgi_app.models import Models
from hfgi_app.networks import styleres
from hfgi_app.networks.styleres import Injection
from hfgi_app.refine.base import Edit
from hfgi_app.refine.styleres import StyleRes
from hfgi_app.types import Inversion
from hfgi_app.weights import part

pytestmark = pytest.mark.slow
CASES = ("inversion", "age_p3", "lipstick_p20")


@pytest.fixture(scope="module", autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def models() -> Models:
    state = fill.state("styleres")
    parts = {name: part(state, name) for name in ("e4e", "generator_smooth")}
    return published.models({"latent_avg": state["latent_avg"], **parts})


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages("styleres")


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(fill.picture())


def refiner(models: Models) -> StyleRes:
    found = models.refiner("styleres")
    assert isinstance(found, StyleRes)
    return found


def test_once_per_photo(inversion: Inversion, models: Models, stages: Stages) -> None:
    assert models.methods()[0].name == "styleres"
    assert models.generator.config.clamp == 256
    stages.check("input", inversion.source)
    stages.check("codes", inversion.codes)
    stages.check("codes_without_avg", inversion.codes - models.encoder.latent_avg)
    stages.check("enc_feat64", inversion.encoder_features)
    stages.check("F_feats", inversion.generator_features)


@pytest.mark.parametrize("case", CASES)
def test_edit(case: str, models: Models, inversion: Inversion, stages: Stages) -> None:
    latents = edited(case, models, inversion)
    stages.check(f"{case}.codes", latents.w)
    styles = models.generator.styles(latents)
    partial = models.generator.begin(styles)
    stages.check(f"{case}.x_conv0", partial.features)
    coarse = inversion.coarse if case == "inversion" else models.generator.finish(partial, styles)
    stages.check(f"{case}.edit1024_nofuse", coarse)
    final = rendered(case, models, inversion, Edit(inversion.codes, latents.w, styles, partial, coarse), stages)
    stages.check(f"{case}.final1024", final)
    stages.check(f"{case}.meanabs_fuse_effect", (final - coarse).abs().mean())
    levels = ((final[0] + 1) * 127.5).clamp(0, 255)[:, ::64, ::64]
    stages.check_levels(f"{case}.final1024_u8_sub64", levels, rounded=True)


def rendered(case: str, models: Models, inversion: Inversion, edit: Edit, stages: Stages) -> torch.Tensor:
    """The method's render; what passes inside and between its networks is compared on its way."""
    method = refiner(models)

    def fitted(given: Any, output: Any) -> None:
        stages.check(f"{case}.deltaF", output[0])
        stages.check(f"{case}.gate", output[1])
        stages.check(f"{case}.fused64", Injection(*output)(given[0]))

    with (
        listening(method.encoder.aligned, lambda given, output: stages.check(f"{case}.aligned", output)),
        listening(method.encoder.extraction, lambda given, output: stages.check(f"{case}.extracted", output)),
    ):
        detail = method.consult(inversion)
    with listening(method.transform, fitted):
        return method.render(detail, edit)


def test_nothing_was_left_out(stages: Stages) -> None:
    """Runs after the tests above, which compare every figure there is."""
    if not {"codes", *(f"{case}.final1024_u8_sub64" for case in CASES)} <= stages.compared:
        pytest.skip("only some of the comparisons ran")
    assert stages.compared == set(stages.expected.files)


def test_the_tolerance_notices_small_mistakes(
    models: Models, inversion: Inversion, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these is a mistake that reimplementations make, and far outside the tolerance."""
    method = refiner(models)
    residual = method.consult(inversion).residual
    edit = edited("age_p3", models, inversion)
    partial = models.generator.begin(models.generator.styles(edit))
    unedited = method.transform(inversion.generator_features, residual)[0]
    assert stages.distance("age_p3.deltaF", unedited) > 100 * TOLERANCE
    change, gate = method.transform(partial.features, residual)
    assert stages.distance("age_p3.fused64", Injection(change, gate)(partial.features)) <= TOLERANCE
    assert stages.distance("age_p3.fused64", partial.features + change) > 100 * TOLERANCE
    swapped = F.interpolate

    def corners_left_alone(*given: Any, **options: Any) -> torch.Tensor:
        return swapped(*given, **options | {"align_corners": False})

    monkeypatch.setattr(styleres.F, "interpolate", corners_left_alone)
    assert stages.distance("inversion.extracted", method.consult(inversion).residual) > 10 * TOLERANCE
