"""WaGI: wavelet fusion, the refiner's use of it, and its training stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from test_refine import edit
from torch import Tensor
from training import CONSULT, CPU, FOLLOWING, SIZE, check_export, gathered, log, run_of, same

from hfgi_app.images import to_tensor
from hfgi_app.models import Models
from hfgi_app.networks.wagi import Fusion, WaGI, WaveletFusion
from hfgi_app.networks.wavelets import haar, high_bands
from hfgi_app.train import data, hfgi, refiner, wagi
from hfgi_app.train.loop import load

WAVELETS = wagi.Plan(
    **FOLLOWING,
    alignment_widths=(4, 4, 4, 4),
    fusion_widths=(4, 4, 5),
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def changes(side: int, levels: int) -> list[tuple[Tensor, Tensor]]:
    sides = [side >> level for level in range(1, levels + 1)]
    return [(noise(2, 9, each, each, seed=1), noise(2, 9, each, each, seed=2)) for each in sides]


# --- networks --------------------------------------------------------------------------------------------------------


def test_fusion_scales_and_shifts_the_high_bands_and_leaves_the_last_low_one() -> None:
    skip, found = noise(2, 3, 16, 16), changes(16, 2)
    fused = Fusion(found)(skip)
    for before, after, (scale, shift) in zip(high_bands(skip, 2), high_bands(fused, 2), found, strict=True):
        torch.testing.assert_close(after, before * (1 + scale) + shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(haar(haar(fused)[0])[0], haar(haar(skip)[0])[0], atol=1e-5, rtol=0)


def test_no_change_is_the_skip_itself() -> None:
    skip = noise(1, 3, 16, 16)
    nothing = [(torch.zeros(1, 9, side, side), torch.zeros(1, 9, side, side)) for side in (8, 4, 2)]
    torch.testing.assert_close(Fusion(nothing)(skip), skip, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "hook", "levels"), [(32, 32, {32: 4}), (32, 16, {32: 1, 16: 3}), (64, 16, {64: 1, 32: 1, 16: 2})]
)
def test_every_resolution_from_the_hook_on_has_its_bands_fused(size, hook, levels) -> None:
    network = WaGI(size, hook, (4, 8, 16), (4, 16), (2, 2, 4, 4), (4, 4, 4, 4))
    bands = network(noise(1, 3, size, size), noise(1, 3, size, size))
    assert {resolution: len(fusion.changes) for resolution, fusion in bands.items()} == levels
    for resolution, fusion in bands.items():
        assert [shift.shape[-1] for _, shift in fusion.changes] == [
            resolution >> level for level in range(1, levels[resolution] + 1)
        ]
        assert fusion(noise(1, 3, resolution, resolution)).shape == (1, 3, resolution, resolution)


def test_coarse_coefficients_weigh_on_the_fine_ones_and_the_other_way_round() -> None:
    """Fine bands are judged in the light of what lies around them, far beyond one convolution."""
    network = WaveletFusion((4, 4, 4))
    aligned, edited = noise(1, 3, 32, 32), noise(1, 3, 32, 32)
    before = network(aligned, edited)
    aligned[..., :4, :4] += 1
    for (_, shift), (_, other) in zip(before, network(aligned, edited), strict=True):
        assert not torch.equal(shift, other)
    assert not torch.equal(before[0][1][..., 10:, 10:], network(aligned, edited)[0][1][..., 10:, 10:])


# --- refiner ---------------------------------------------------------------------------------------------------------


def test_the_photos_own_detail_comes_back_aligned_to_the_edit(models: Models) -> None:
    inversion = models.invert(to_tensor(tiny.photo(64, 64)))
    method, change = models.refiner("wagi"), edit(models, inversion, 0.3)
    own = method.consult(inversion)
    other = replace(own, inversion=replace(inversion, distortion=inversion.distortion.flip(3)))
    with torch.no_grad():
        assert (method.render(own, change) - method.render(other, change)).abs().max() > 1e-3
        darker = replace(change, coarse=change.coarse - 0.5)
        assert not torch.equal(method.render(own, change), method.render(own, darker))


def test_its_label_says_that_it_is_an_adaptation(models: Models) -> None:
    method = models.refiner("wagi").method
    assert "adapted" in method.label
    assert "StyleGAN2 instead of SWAGAN" in method.paper


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> data.Pack:
    return gathered(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory) -> Path:
    return run_of(wagi, WAVELETS, pack, tmp_path_factory.mktemp("run"))


def learner(run: Path, plan: wagi.Plan = WAVELETS) -> tuple[refiner.Base, wagi.WaGILearner]:
    """The stage before its first step."""
    torch.manual_seed(plan.seed)
    base = refiner.Base(load(run / "generator32.pt"), plan, CPU)
    return base, wagi.WaGILearner(plan, base)


def stripes(period: int) -> Tensor:
    """Vertical stripes of +-1, N x 3 x 16 x 16."""
    return torch.tensor([-1.0, 1.0]).repeat_interleave(period).repeat(8 // period).expand(1, 3, 16, 16)


def test_the_wavelet_loss_sees_the_high_bands_alone_and_every_level_alike() -> None:
    one = noise(1, 3, 16, 16)
    assert wagi.wavelet_loss(one, one) == 0
    torch.testing.assert_close(wagi.wavelet_loss(one + 0.5, one), torch.tensor(0.0), atol=1e-6, rtol=0)
    found = [float(wagi.wavelet_loss(stripes(period), torch.zeros(1, 3, 16, 16))) for period in (1, 2, 4)]
    assert found == pytest.approx([found[0]] * 3)
    assert found[0] > 0.1
    assert wagi.wavelet_loss(stripes(8), torch.zeros(1, 3, 16, 16)) == 0


def test_the_wavelet_loss_is_part_of_the_difference(run: Path) -> None:
    _, with_it = learner(run)
    _, without = learner(run, replace(WAVELETS, wavelet_weight=0.0))
    made, truth = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    extra = with_it.difference(made, truth) - without.difference(made, truth)
    torch.testing.assert_close(extra, WAVELETS.wavelet_weight * wagi.wavelet_loss(made, truth))


def test_the_stage_begins_with_the_coarse_edit_nearly(run: Path, pack: data.Pack) -> None:
    base, method = learner(run)
    inversion = base.invert(pack.batch(torch.arange(2), SIZE, CPU))
    change = base.edit(inversion, inversion.codes + 0.1)
    with torch.no_grad():
        made = method.follow(base, inversion, change)
    carried = 0.9526 * inversion.distortion  # fit begins so, and what is left alone at 0.0474
    expected = carried + 0.0474 * (inversion.distortion - carried)
    torch.testing.assert_close(made.aligned, expected, atol=1e-3, rtol=1e-3)
    assert (made.picture - change.coarse).abs().mean() < 0.5 * change.coarse.std()


def test_the_stage_begins_with_the_alignment_of_hfgis(run: Path, pack: data.Pack, tmp_path: Path) -> None:
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    hfgi.train(pack, tmp_path, replace(CONSULT, pictures=4), CPU)
    start = load(tmp_path / "hfgi.pt")
    base, _ = learner(run)
    method = wagi.WaGILearner(WAVELETS, base, start)
    for name in ("following", "alignment"):
        for key, value in method.wagi.get_submodule(name).state_dict().items():
            assert torch.equal(value, start["average"][f"{name}.{key}"])


def test_the_stage_learns_all_its_parts(run: Path) -> None:
    state, (_, fresh) = load(run / "wagi.pt"), learner(run)
    assert state["seen"] == 12
    parts = {"following", "alignment", "fusion"}
    assert {name.split(".")[1] for name in state["learners"]} == parts
    for name, value in fresh.networks.named_parameters():
        assert not torch.equal(state["learners"][name], value), name
        assert state["learners"][name].isfinite().all(), name
    assert {"test_mae", "coarse_mae", "pixels", "response", "missed"} <= log(run)[-1].keys()


def test_the_stage_repeats(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    wagi.train(pack, tmp_path, WAVELETS, CPU)
    assert same(load(tmp_path / "wagi.pt"), load(run / "wagi.pt"))


def test_the_exported_method_renders_as_in_training(run: Path, tmp_path: Path) -> None:
    check_export(run, *learner(run), tmp_path)
