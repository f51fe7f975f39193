"""StyleRes on a tiny random model: what it keeps of a photo, what it asks of every edit, and its ablation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

from hfgi_app.images import to_tensor
from hfgi_app.models import Models
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualLayer, ResidualTransform
from hfgi_app.refine.base import Edit
from hfgi_app.refine.styleres import StyleRes, UnfittedStyleRes
from hfgi_app.types import Inversion, Latents


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(to_tensor(tiny.photo(64, 64)))


@pytest.fixture
def refiner(models: Models) -> StyleRes:
    found = models.refiner("styleres")
    assert isinstance(found, StyleRes)
    return found


def edit(models: Models, inversion: Inversion, amount: float) -> Edit:
    codes = inversion.codes
    latents = Latents(codes + amount * torch.linspace(-1, 1, codes.numel()).reshape(codes.shape))
    styles = models.generator.styles(latents)
    partial = models.generator.begin(styles)
    return Edit(codes, latents.w, styles, partial, models.generator.finish(partial, styles))


def counted(module: nn.Module) -> list[int]:
    """Grows with every run of the module."""
    runs: list[int] = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        encoder, transform = ResidualEncoder(128, 512), ResidualTransform(512)
    count = [sum(parameter.numel() for parameter in module.parameters()) for module in (encoder, transform)]
    assert [round(number / 1e6, 2) for number in count] == [58.01, 25.96]  # without the decoder stage that is never run


def test_a_residual_layer_is_its_two_paths() -> None:
    layer = ResidualLayer(2, 3, stride=2)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(layer.res_layer[2].weight)
    nn.init.constant_(layer.res_layer[2].bias, 0.5)
    shortcut = nn.functional.conv2d(x, layer.shortcut_layer[0].weight, stride=2)
    torch.testing.assert_close(layer(x), shortcut + 0.5)
    assert isinstance(ResidualLayer(3, 3).shortcut_layer, nn.Identity)


def test_sizes_may_all_differ() -> None:
    encoder, transform = ResidualEncoder(3, 6, 5), ResidualTransform(6, 5, 7)
    residual = encoder(torch.randn(2, 3, 16, 16), torch.randn(2, 6, 16, 16))
    change, gate = transform(torch.randn(2, 6, 16, 16), residual)
    assert [tuple(t.shape) for t in (residual, change, gate)] == [(2, 5, 16, 16), (2, 6, 16, 16), (2, 1, 16, 16)]
    assert ((gate > 0) & (gate < 1)).all()


def test_a_closed_gate_adds_nothing_an_open_one_all() -> None:
    transform = ResidualTransform(6)
    features, residual = torch.randn(2, 1, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    bias = transform.gate[2].res_layer[2].bias
    bias.fill_(-100)
    assert torch.equal(Injection(*transform(features, residual))(features), features)
    bias.fill_(100)
    change, gate = transform(features, residual)
    torch.testing.assert_close(Injection(change, gate)(features), features + change)


def test_what_does_not_depend_on_the_edit_is_computed_once(models: Models, inversion: Inversion) -> None:
    refiner = StyleRes()
    refiner.load(models.generator, tiny.tensors(), tiny.CONFIG)
    photos, edits = counted(refiner.encoder), counted(refiner.transform)
    detail = refiner.consult(inversion)
    for amount in (0.1, 0.2, 0.3):
        refiner.render(detail, edit(models, inversion, amount))
    assert (len(photos), len(edits)) == (1, 3)


def test_the_photos_own_features_come_back(models: Models, inversion: Inversion, refiner: StyleRes) -> None:
    change = edit(models, inversion, 0.2)
    other = replace(inversion, encoder_features=inversion.encoder_features.flip(3))
    one, two = (refiner.render(refiner.consult(each), change) for each in (inversion, other))
    assert (one - two).abs().max() > 1e-4


def test_the_residual_is_fitted_to_the_edit(models: Models, inversion: Inversion, refiner: StyleRes) -> None:
    """What the method adds differs between edits; what the ablation adds does not, and without an edit is the same."""
    ablation = UnfittedStyleRes()
    ablation.load(models.generator, tiny.tensors(), tiny.CONFIG)
    fitted, fixed = refiner.consult(inversion), ablation.consult(inversion)
    still, moved = edit(models, inversion, 0.0), edit(models, inversion, 0.5)
    torch.testing.assert_close(ablation.render(fixed, still), refiner.render(fitted, still))
    assert (ablation.render(fixed, moved) - refiner.render(fitted, moved)).abs().max() > 1e-4


def test_no_layer_exceeds_the_limit_of_a_generator_that_has_one() -> None:
    free, limited = (Generator(replace(tiny.GENERATOR, clamp=clamp)) for clamp in (None, 0.5))
    limited.load_state_dict(free.state_dict())
    w = torch.randn(1, tiny.GENERATOR.rows, tiny.GENERATOR.dim, generator=torch.Generator().manual_seed(0))
    assert free.begin(free.styles(Latents(w))).features.abs().max() > 0.5
    seen: list[float] = []
    for layer in (*limited.layers, *limited.to_rgbs[:1]):
        layer.register_forward_hook(lambda module, given, output: seen.append(float(output.abs().max())))
    picture = limited(w)
    assert max(seen) == 0.5
    assert picture.abs().max() <= 0.5 * len(limited.to_rgbs) * 1.5
