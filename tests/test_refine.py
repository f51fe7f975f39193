"""The contract of refinement methods, on a tiny random model: every class in REFINERS is held to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from hfgi_app.images import to_tensor
from hfgi_app.models import Models
from hfgi_app.refine import ABLATIONS, REFINERS
from hfgi_app.refine.base import Edit, Refiner
from hfgi_app.refine.hfgi import HFGI
from hfgi_app.refine.pti import PTI
from hfgi_app.refine.restyle import ReStyle
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Inversion, Latents

SIZE = tiny.GENERATOR.size
every_refiner = pytest.mark.parametrize("kind", REFINERS, ids=lambda kind: kind.method.name)


@pytest.fixture(autouse=True)
def _no_grad(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(PTI, "steps", 3)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(to_tensor(tiny.photo(64, 64)))


@pytest.fixture
def refiner(kind: type[Refiner]) -> Refiner:
    """Loaded by itself, from the tiny weights."""
    models = tiny.models(networks=("generator", "encoder"))
    made = kind()
    made.load(models.generator, tiny.tensors(), tiny.CONFIG)
    return made


def edit(models: Models, inversion: Inversion, amount: float) -> Edit:
    codes = inversion.codes
    latents = Latents(codes + amount * torch.linspace(-1, 1, codes.numel()).reshape(codes.shape))
    styles = models.generator.styles(latents)
    partial = models.generator.begin(styles)
    return Edit(codes, latents.w, styles, partial, models.generator.finish(partial, styles))


def held(value: object) -> dict[str, Tensor]:
    """The tensors of a dataclass, and of those in it, by name."""
    named: dict[str, Tensor] = {}
    for name, part in ((field.name, getattr(value, field.name)) for field in fields(value)):
        if isinstance(part, Tensor):
            named[name] = part
        elif is_dataclass(part):
            named |= {f"{name}.{inner}": tensor for inner, tensor in held(part).items()}
        elif isinstance(part, nn.Module):
            named |= {f"{name}.{inner}": tensor for inner, tensor in part.state_dict().items()}
    return named


@contextmanager
def counted(module: nn.Module) -> Iterator[list[None]]:
    """As many entries as passes through the module."""
    passes: list[None] = []
    hook = module.register_forward_hook(lambda *_: passes.append(None))
    try:
        yield passes
    finally:
        hook.remove()


@every_refiner
def test_a_render_has_the_models_size_and_repeats_bit_for_bit(kind, refiner, models, inversion) -> None:
    first = refiner.render(refiner.consult(inversion), edit(models, inversion, 0.3))
    again = refiner.render(refiner.consult(inversion), edit(models, inversion, 0.3))
    assert first.shape == (1, 3, SIZE, SIZE)
    assert first.dtype == torch.float32
    assert first.isfinite().all()
    assert torch.equal(first, again)


@every_refiner
def test_a_render_follows_the_edit(kind, refiner, models, inversion) -> None:
    detail = refiner.consult(inversion)
    plain, moved, back = (refiner.render(detail, edit(models, inversion, amount)) for amount in (0.0, 0.5, 0.0))
    assert (plain - moved).abs().mean() > 0.01
    assert torch.equal(plain, back)


@every_refiner
def test_rendering_writes_to_nothing(kind, refiner, models, inversion) -> None:
    detail, change = refiner.consult(inversion), edit(models, inversion, 0.4)
    watched = {**held(detail), **held(inversion), "coarse edit": change.coarse, "features": change.partial.features}
    before = {name: tensor.clone() for name, tensor in watched.items()}
    for amount in (0.4, -0.2):
        refiner.render(detail, edit(models, inversion, amount))
    refiner.render(detail, change)
    assert all(torch.equal(tensor, before[name]) for name, tensor in watched.items())


@every_refiner
def test_a_detail_weighs_what_it_holds_beside_the_inversion(kind, refiner, inversion) -> None:
    detail = refiner.consult(inversion)
    networks = [part.state_dict() for part in vars(refiner).values() if isinstance(part, nn.Module)]
    shared = {tensor.data_ptr() for named in (held(inversion), *networks) for tensor in named.values()}
    own = [tensor.nbytes for tensor in held(detail).values() if tensor.data_ptr() not in shared]
    assert detail.nbytes == sum(own)


@every_refiner
def test_photos_never_mix_in_a_refiner(kind, refiner, models, inversion) -> None:
    other = models.invert(to_tensor(tiny.photo(64, 64, seed=5)))
    change = edit(models, inversion, 0.3)
    detail = refiner.consult(inversion)
    before = refiner.render(detail, change)
    refiner.render(refiner.consult(other), edit(models, other, 0.3))
    assert torch.equal(refiner.render(detail, change), before)


@every_refiner
def test_a_refiner_asks_for_no_gradients(kind, refiner, models, inversion) -> None:
    with torch.enable_grad():
        picture = refiner.render(refiner.consult(inversion), edit(models, inversion, 0.2))
    assert not picture.requires_grad


@every_refiner
def test_opening_a_photo_runs_the_encoder_once_and_ten_renders_never(kind, models) -> None:
    session, slider = EditSession(models), models.sliders()[0]
    with counted(models.encoder) as encodings:
        session.open(tiny.photo(64, 64), aligned=True)
        assert len(encodings) == 1
        for number in range(10):
            session.render(EditRecipe(((slider.name, number / 10),), method=kind.method.name))
    assert len(encodings) == 1


@every_refiner
def test_a_frame_pays_for_one_beginning(kind, models) -> None:
    session, slider = EditSession(models), models.sliders()[0]
    session.open(tiny.photo(64, 64), aligned=True)
    session.render(EditRecipe(method=kind.method.name))
    recipe = EditRecipe(((slider.name, 1.0),), method=kind.method.name)
    own = kind is ReStyle  # it moves the codes, so its picture begins anew
    with counted(models.generator.layers[0]) as beginnings:
        session.preview(recipe)
        assert len(beginnings) == 1 + own
        session.render(recipe)
    assert len(beginnings) == 1 + own


def test_the_default_method_comes_first(models) -> None:
    assert EditRecipe().method == REFINERS[0].method.name == models.methods()[0].name
    names = [kind.method.name for kind in REFINERS]
    assert len(set(names)) == len(names)
    assert all(kind.method.label and kind.method.paper for kind in REFINERS)


def test_hfgi_brings_the_photos_own_detail_back(models, inversion) -> None:
    """Another distortion map, another render; and the map is aligned to the edit, not used as it lies."""
    refiner, change = models.refiner("hfgi"), edit(models, inversion, 0.3)
    assert isinstance(refiner, HFGI)
    own = refiner.consult(inversion)
    other = replace(own, inversion=replace(inversion, distortion=inversion.distortion.flip(3)))
    assert (refiner.render(own, change) - refiner.render(other, change)).abs().max() > 1e-4
    darker = replace(change, coarse=change.coarse - 0.5)
    assert not torch.equal(refiner.render(other, change), refiner.render(other, darker))


def test_e4e_brings_nothing_back(models, inversion) -> None:
    refiner, change = models.refiner("e4e"), edit(models, inversion, 0.3)
    assert torch.equal(refiner.render(refiner.consult(inversion), change), change.coarse)


def test_ablations_are_offered_to_those_who_ask_and_differ_once_there_is_an_edit() -> None:
    config, tensors = tiny.CONFIG, tiny.tensors()
    full = Models(tiny.INFO, tensors, config, tiny.families(), torch.device("cpu"), ablations=True)
    names = [kind.method.name for kind in ABLATIONS]
    assert [method.name for method in full.methods()] == [*(kind.method.name for kind in REFINERS), *names]
    assert not set(names) & {method.name for method in tiny.models().methods()}
    session = EditSession(full)
    session.open(tiny.photo(64, 64), aligned=True)
    for kind in ABLATIONS:
        whole = next(
            name for name in (refiner.method.name for refiner in REFINERS) if kind.method.name.startswith(name)
        )
        edit = EditRecipe((("interfacegan/age", 3.0),))
        pictures = [session.raw(replace(edit, method=name)) for name in (whole, kind.method.name)]
        assert not np.array_equal(*pictures), kind.method.name
