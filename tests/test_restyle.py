"""ReStyle: iterations of an encoder that sees photo and render, the offset they find, and its training stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from test_refine import edit
from torch import Tensor
from training import CPU, METHOD, SIZE, check_export, gathered, log, run_of, same

from hfgi_app.images import resize, to_tensor
from hfgi_app.models import Models
from hfgi_app.refine.base import Edit
from hfgi_app.refine.restyle import ITERATIONS, ReStyleDetail, refine
from hfgi_app.train import data, refiner, restyle
from hfgi_app.train.loop import load
from hfgi_app.types import Inversion, Latents

ITERATIVE = restyle.Plan(**METHOD, widths=(4, 4, 4, 6, 8), units=(1, 1, 1, 1), head_width=4)


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(to_tensor(tiny.photo(64, 64)))


# --- refiner ---------------------------------------------------------------------------------------------------------


def test_every_iteration_sees_the_photo_and_the_last_render(models: Models, inversion: Inversion) -> None:
    seen: list[Tensor] = []
    encoder = models.refiner("restyle").encoder
    hook = encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        steps = list(refine(models.generator, encoder, inversion))
    hook.remove()
    renders = [inversion.coarse, *(picture for _, picture in steps[:-1])]
    assert len(seen) == len(steps) == ITERATIONS > 1
    for pictures, render in zip(seen, renders, strict=True):
        assert pictures.shape == (1, 6, 64, 64)
        assert torch.equal(pictures[:, :3], inversion.source)
        assert torch.equal(pictures[:, 3:], resize(render.clamp(-1, 1), 64))


def test_the_offset_is_the_sum_of_all_steps(models: Models, inversion: Inversion) -> None:
    method = models.refiner("restyle")
    detail = method.consult(inversion)
    with torch.no_grad():
        *_, (codes, picture) = refine(models.generator, method.encoder, inversion)
        rendered = method.render(detail, edit(models, inversion, 0.0))
    torch.testing.assert_close(detail.offset, codes - inversion.codes)
    torch.testing.assert_close(rendered, picture, atol=1e-4, rtol=1e-4)


def test_the_offset_is_added_to_the_edited_codes(models: Models, inversion: Inversion) -> None:
    method, change = models.refiner("restyle"), edit(models, inversion, 0.4)
    offset = 0.1 * torch.randn(inversion.codes.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made, expected = method.render(ReStyleDetail(offset), change), models.generator(change.edited + offset)
        nothing = method.render(ReStyleDetail(torch.zeros_like(offset)), change)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(nothing, change.coarse, atol=1e-4, rtol=1e-4)


def test_offsets_in_style_space_stay(models: Models, inversion: Inversion) -> None:
    method, generator = models.refiner("restyle"), models.generator
    offset = 0.1 * torch.randn(inversion.codes.shape, generator=torch.Generator().manual_seed(0))
    moved = ((2, 0.5 * torch.ones(1, 8)),)
    with torch.no_grad():
        styles = generator.styles(Latents(inversion.codes, moved))
        partial = generator.begin(styles)
        change = Edit(inversion.codes, inversion.codes, styles, partial, generator.finish(partial, styles))
        made = method.render(ReStyleDetail(offset), change)
        truth = generator.styles(Latents(inversion.codes + offset, moved))
        torch.testing.assert_close(made, generator.finish(generator.begin(truth), truth), atol=1e-4, rtol=1e-4)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> data.Pack:
    return gathered(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory) -> Path:
    return run_of(restyle, ITERATIVE, pack, tmp_path_factory.mktemp("run"))


def learner(run: Path) -> tuple[refiner.Base, restyle.ReStyleLearner]:
    """The stage before its first step."""
    torch.manual_seed(ITERATIVE.seed)
    base = refiner.Base(load(run / "generator32.pt"), ITERATIVE, CPU)
    return base, restyle.ReStyleLearner(ITERATIVE, base)


def test_no_gradient_passes_from_one_iteration_to_the_next(run: Path, pack: data.Pack) -> None:
    base, method = learner(run)
    inversion = base.invert(pack.batch(torch.arange(2), SIZE, CPU))
    (first, _), (second, _) = refine(base.generator, method.encoder, inversion, 2)
    first.retain_grad()
    second.square().sum().backward()
    assert first.grad is None
    assert all(parameter.grad is not None for parameter in method.heads())


def test_the_stage_learns_its_encoder(run: Path) -> None:
    state, (_, fresh) = load(run / "restyle.pt"), learner(run)
    assert state["seen"] == 12
    assert state["config"]["restyle_encoder"]["channels"] == 6
    for name, value in fresh.networks.named_parameters():
        assert not torch.equal(state["learners"][name], value), name
        assert state["learners"][name].isfinite().all(), name
    assert {"test_mae", "coarse_mae", "pixels", "matching", "offset", "critic"} <= log(run)[-1].keys()


def test_the_stage_repeats(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    restyle.train(pack, tmp_path, ITERATIVE, CPU)
    assert same(load(tmp_path / "restyle.pt"), load(run / "restyle.pt"))


def test_the_exported_method_renders_as_in_training(run: Path, tmp_path: Path) -> None:
    check_export(run, *learner(run), tmp_path)
