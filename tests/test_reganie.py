"""ReGANIE: its networks, what it keeps of a photo and asks of an edit, its ablations, and a tiny training run."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from training import CPU, FOLLOWING, SIZE, gathered, log, run_of

from hfgi_app import images, weights
from hfgi_app.models import Models
from hfgi_app.networks.reganie import GlobalLayer, Rectifier, SpatialLayer
from hfgi_app.refine.base import Edit
from hfgi_app.refine.reganie import GlobalReGANIE, ReGANIE, SpatialReGANIE
from hfgi_app.train import data, export, refiner, reganie
from hfgi_app.train.loop import load
from hfgi_app.types import Inversion, Latents

PLAN = reganie.Plan(**FOLLOWING | {"batch": 3, "save_every": 9}, widths=(4, 5, 48), dim=6)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rectifier() -> Rectifier:
    """Random, biases and neutral modulations not at their defaults."""
    torch.manual_seed(0)
    made = Rectifier((4, 5, 6), 7, (4, 8, 16), (4, 16)).requires_grad_(False)
    for parameter in made.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(images.to_tensor(tiny.photo(64, 64)))


def edit(models: Models, inversion: Inversion, amount: float) -> Edit:
    latents = Latents(inversion.codes + amount * torch.linspace(-1, 1, inversion.codes.shape[2]))
    return Edit.of(models.generator, inversion.codes, latents)


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 36])
def test_the_spatial_code_is_small_and_a_picture_goes_back_to_its_own_size(rectifier: Rectifier, size: int) -> None:
    distortion = noise(2, 3, size, size)
    spatial, overall = rectifier.distortion.spatial(distortion), rectifier.distortion.overall(distortion)
    assert (tuple(spatial.shape), tuple(overall.shape)) == ((2, 6, size // 4, size // 4), (2, 7))
    assert rectifier(noise(2, 3, size, size), spatial, overall).shape == (2, 3, size, size)


def test_no_distortion_no_code(rectifier: Rectifier) -> None:
    distortion = noise(1, 3, 32, 32)
    for code in (rectifier.distortion.spatial, rectifier.distortion.overall):
        torch.testing.assert_close(code(2 * distortion), 2 * code(distortion))
        assert not code(0 * distortion).any()
        assert code(distortion).any()


def test_what_is_the_same_everywhere_is_the_global_codes(rectifier: Rectifier) -> None:
    distortion, cast = noise(1, 3, 32, 32), torch.tensor([0.2, 0.0, -0.1]).reshape(1, 3, 1, 1)
    codes = rectifier.distortion
    torch.testing.assert_close(codes.spatial(distortion + cast), codes.spatial(distortion), atol=1e-5, rtol=1e-4)
    assert (codes.overall(distortion + cast) - codes.overall(distortion)).abs().max() > 1e-3


def test_layers_modulate_by_place_and_by_channel() -> None:
    """conv(f * code) + b, the code around one."""
    torch.manual_seed(0)
    x, places, vector = noise(2, 3, 8, 8, seed=1), noise(2, 3, 8, 8, seed=2), noise(2, 5, seed=3)
    spatial, overall = SpatialLayer(3, 4), GlobalLayer(3, 2, 5)
    torch.testing.assert_close(spatial(x, places), spatial.conv(x * (1 + places)))
    assert torch.equal(spatial(x, torch.zeros(1)), spatial.conv(x))
    assert torch.equal(overall(x, torch.zeros(2, 5)), overall.conv(x))
    style = 1 + vector @ overall.affine.weight.T + overall.affine.bias - 1
    torch.testing.assert_close(overall(x, vector), overall.conv(x * style[:, :, None, None]))


def test_both_codes_reach_the_picture(rectifier: Rectifier) -> None:
    picture, distortion = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    spatial, overall = rectifier.distortion.spatial(distortion), rectifier.distortion.overall(distortion)
    whole = rectifier(picture, spatial, overall)
    for without in ((0 * spatial, overall), (spatial, 0 * overall)):
        assert (rectifier(picture, *without) - whole).abs().max() > 1e-4


def test_the_published_budget() -> None:
    with torch.device("meta"):
        rectifier = Rectifier()
    assert sum(parameter.numel() for parameter in rectifier.parameters()) < 2.5e6


# --- refiner ---------------------------------------------------------------------------------------------------------


def test_the_global_code_is_made_once_and_every_edit_is_repainted(models: Models, inversion: Inversion) -> None:
    refiner_ = ReGANIE()
    refiner_.load(models.generator, tiny.tensors(), tiny.CONFIG)
    encodings, paintings = [], []
    refiner_.rectifier.distortion.linear.register_forward_hook(lambda *_: encodings.append(1))
    refiner_.rectifier.register_forward_hook(lambda *_: paintings.append(1))
    with torch.no_grad():
        detail = refiner_.consult(inversion)
        pictures = [refiner_.render(detail, edit(models, inversion, amount)) for amount in (0.0, 0.2, 0.4)]
    assert (len(encodings), len(paintings)) == (1, 3)
    assert all((picture - other).abs().max() > 1e-3 for picture, other in pairwise(pictures))


def test_a_photo_of_other_detail_is_rendered_otherwise(models: Models, inversion: Inversion) -> None:
    refiner_, change = models.refiner("reganie"), edit(models, inversion, 0.3)
    other = replace(inversion, distortion=inversion.distortion.flip(3))
    with torch.no_grad():
        one, two = (refiner_.render(refiner_.consult(each), change) for each in (inversion, other))
    assert (one - two).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "left"), [(GlobalReGANIE, 1), (SpatialReGANIE, 0)])
def test_an_ablation_leaves_one_code_out(models: Models, inversion: Inversion, kind: type[ReGANIE], left: int) -> None:
    whole, part = ReGANIE(), kind()
    for each in (whole, part):
        each.load(models.generator, tiny.tensors(), tiny.CONFIG)
    given: list[list[bool]] = []
    part.rectifier.register_forward_pre_hook(lambda _, codes: given.append([bool(code.any()) for code in codes[1:]]))
    with torch.no_grad():
        change = edit(models, inversion, 0.2)
        made = part.render(part.consult(inversion), change)
        assert not torch.equal(whole.render(whole.consult(inversion), change), made)
    assert given == [[left == 0, left == 1]]
    assert part.method.name != ReGANIE.method.name


def test_weights_come_back_from_a_file(models: Models, inversion: Inversion, tmp_path: Path) -> None:
    own = {name: tensor for name, tensor in tiny.tensors().items() if name.startswith("rectifier.")}
    weights.save(tmp_path / "reganie.safetensors", own, {"config": json.dumps({"rectifier": tiny.CONFIG["rectifier"]})})
    tensors, metadata = weights.load(tmp_path / "reganie.safetensors")
    read = ReGANIE()
    read.load(models.generator, tensors, json.loads(metadata["config"]))
    with torch.no_grad():
        change = edit(models, inversion, 0.3)
        expected = models.refiner("reganie").render(models.refiner("reganie").consult(inversion), change)
        torch.testing.assert_close(read.render(read.consult(inversion), change), expected)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> data.Pack:
    return gathered(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(reganie, PLAN, pack, tmp_path_factory.mktemp("run"))


def course(run: Path) -> refiner.Course:
    """The stage before its first step."""
    torch.manual_seed(PLAN.seed)
    base = refiner.Base(load(run / f"generator{SIZE}.pt"), PLAN, CPU)
    return refiner.Course(PLAN, base, reganie.ReGANIELearner(PLAN, base))


def test_the_stage_trains_every_part_logs_and_shows(run: Path) -> None:
    state, fresh = load(run / "reganie.pt"), course(run).learner.networks.state_dict()
    assert state["seen"] == PLAN.pictures
    unmoved = [name for name, value in state["learners"].items() if torch.equal(value, fresh[name])]
    assert unmoved == []
    assert all(value.isfinite().all() for value in state["learners"].values())
    mine = [line for line in log(run) if line["stage"] == "reganie"]
    assert [line["seen"] for line in mine] == [9, 12]
    assert {"test_mae", "coarse_mae", "pixels", "matching", "movement", "stillness", "missed"} <= mine[0].keys()
    with Image.open(run / "sheets" / "reganie-0000012.png") as sheet:
        assert sheet.size[1] == 5 * SIZE


def test_the_stage_repeats(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    (tmp_path / f"generator{SIZE}.pt").write_bytes((run / f"generator{SIZE}.pt").read_bytes())
    reganie.train(pack, tmp_path, PLAN, CPU)
    first, second = (load(folder / "reganie.pt")["average"] for folder in (run, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_begins_with_the_photo_itself(pack: data.Pack, run: Path) -> None:
    """The distortion map, carried through the spatial code's layers unchanged, makes the coarse picture the photo
    again, but for what is the same everywhere."""
    fresh = course(run)
    photos = pack.batch(torch.arange(4), SIZE, CPU)
    with torch.no_grad():
        inversion = fresh.base.invert(photos)
        made = fresh.learner.render(fresh.base, inversion, fresh.base.edit(inversion, inversion.codes))
    lost, lacking = inversion.coarse.clamp(-1, 1) - photos, made - photos
    assert (lacking - lacking.mean((2, 3), keepdim=True)).abs().mean() < 0.2 * lost.abs().mean()


def test_sources_are_the_photo_the_photo_moved_and_the_photo_edited(pack: data.Pack, run: Path) -> None:
    fresh = course(run)
    photos = pack.batch(torch.arange(6), SIZE, CPU)
    with torch.no_grad():
        truth = fresh.base.invert(photos)
        sources = fresh.learner._sources(fresh.base, truth, torch.Generator().manual_seed(0))
    assert sources.source.shape == photos.shape
    for field in ("source", "codes", "coarse", "distortion"):
        assert torch.equal(getattr(sources, field)[:2], getattr(truth, field)[:2])
    assert ((sources.source[2:] - photos[2:]).abs().amax((1, 2, 3)) > 1e-3).all()
    for index in (2, 3):  # geometry changes, the light does not
        torch.testing.assert_close(sources.source[index].mean(), photos[index].mean(), atol=0.1, rtol=0)


def test_what_was_trained_can_be_shipped(run: Path, tmp_path: Path) -> None:
    export.export(run, SIZE, tmp_path / "portrait")
    tensors, metadata = weights.load(tmp_path / "portrait" / "reganie.safetensors")
    shipped = ReGANIE()
    models = tiny.models(networks=("generator", "encoder"))
    shipped.load(models.generator, tensors, json.loads(metadata["config"]))
    distortion = noise(1, 3, SIZE, SIZE)
    learner = course(run).learner
    learner.networks.load_state_dict(load(run / "reganie.pt")["average"])
    with torch.no_grad():
        codes, truth = (each.rectifier.distortion.spatial(distortion) for each in (shipped, learner))
    torch.testing.assert_close(codes, truth, atol=5e-3, rtol=5e-3)  # stored in half precision
