"""The styleres stage, a few steps on made-up pictures: what learns, what it is asked for, resuming, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from test_train import CPU, PLAN, SIZE, log, same, save_pictures

from hfgi_app.images import to_tensor
from hfgi_app.models import Models, embedded_tensors
from hfgi_app.train import data, export, generator, refiner, styleres
from hfgi_app.train.loop import load

RESIDUALS = styleres.Plan(
    size=SIZE,
    pictures=12,
    batch=4,
    width=6,
    critic_channels=PLAN.critic_channels,
    critic_every=1,
    r1_every=2,
    save_every=8,
)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> data.Pack:
    folder = tmp_path_factory.mktemp("pictures")
    save_pictures(folder / "faces")
    return data.make([folder / "faces"], folder / "pack.npz", SIZE)


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory) -> Path:
    """A run in which the generator and this stage have run; nothing may train on in it."""
    folder = tmp_path_factory.mktemp("run")
    generator.train(pack, folder, replace(PLAN, pictures=4), CPU)
    styleres.train(pack, folder, RESIDUALS, CPU)
    return folder


def course(run: Path) -> refiner.Course:
    """The stage before its first step."""
    torch.manual_seed(RESIDUALS.seed)
    base = refiner.Base(load(run / "generator32.pt"), RESIDUALS, CPU)
    return refiner.Course(RESIDUALS, base, styleres.StyleResLearner(RESIDUALS, base))


def gradients(run: Path, pack: data.Pack, **weights: float) -> dict[str, float]:
    """Largest gradient of each network for a batch, under these weights and no other."""
    nothing = dict.fromkeys((name for name in vars(RESIDUALS) if name.endswith("_weight") and name != "r1_weight"), 0.0)
    before = course(run)
    learner = styleres.StyleResLearner(replace(RESIDUALS, **{**nothing, **weights}), before.base)
    photos = pack.batch(torch.arange(4), SIZE, CPU)
    learner._edit_loss(before.base, photos, torch.Generator().manual_seed(0)).total.backward()
    return {
        name: max(float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None)
        for name, network in learner.networks.items()
    }


def test_the_stage_learns_its_own_networks_alone(run: Path) -> None:
    state, fresh = load(run / "styleres.pt"), course(run)
    assert state["seen"] == 12
    assert {name.split(".")[0] for name in state["learners"]} == {"residual_encoder", "residual_transform"}
    for name, value in fresh.learner.networks.state_dict().items():
        assert not torch.equal(state["learners"][name], value), name
        assert state["learners"][name].isfinite().all(), name
    assert state["config"]["residual_encoder"] == {"encoder_features": 4, "features": 6, "width": 6}
    frozen = load(run / "generator32.pt")
    for name in ("generator", "encoder"):
        assert same(getattr(fresh.base, name).state_dict(), frozen[f"{name}_average"])


def test_the_stage_logs_and_shows(run: Path) -> None:
    lines = [line for line in log(run) if line["stage"] == "styleres"]
    assert [line["seen"] for line in lines] == [8, 12]
    wanted = {
        "test_mae",
        "coarse_mae",
        "pixels",
        "matching",
        "residual",
        "cycle",
        "missed",
        "response",
        "adversarial",
        "critic",
    }
    assert wanted <= lines[0].keys()
    with Image.open(run / "sheets" / "styleres-0000012.png") as sheet:
        assert sheet.size == (2 * SIZE, 5 * SIZE)


@pytest.mark.parametrize("weight", ["cycle_weight", "missed_weight", "response_weight", "adversarial_weight"])
def test_each_loss_of_an_edit_reaches_both_networks(run: Path, pack: data.Pack, weight: str) -> None:
    assert all(value > 0 for value in gradients(run, pack, **{weight: 1.0}).values())
    assert all(value == 0 for value in gradients(run, pack).values())


def test_the_stage_resumes_and_repeats(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    resumed = course(run)
    resumed.resume(load(run / "styleres.pt"))
    assert same(resumed.state(), load(run / "styleres.pt"))
    styleres.train(pack, tmp_path, RESIDUALS, CPU)
    assert same(load(tmp_path / "styleres.pt"), load(run / "styleres.pt"))
    styleres.train(pack, tmp_path, replace(RESIDUALS, pictures=16), CPU)
    assert [line["seen"] for line in log(tmp_path)] == [8, 12, 16]


def test_the_exported_method_renders_as_in_training(run: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "portrait"
    export.export(run, SIZE, shipped)
    assert {path.name for path in shipped.iterdir()} == {"base.safetensors", "styleres.safetensors"}
    tensors, config = embedded_tensors(shipped)
    models = Models(tiny.INFO, tensors, config, {}, CPU)
    assert models.methods()[0].name == "styleres"
    trained = course(run)
    trained.learner.networks.load_state_dict(load(run / "styleres.pt")["average"])
    photo = to_tensor(tiny.photo(SIZE, SIZE))
    inversion, refined = models.invert(photo), models.refiner("styleres")
    with torch.no_grad():
        edit = trained.base.edit(inversion, inversion.codes + 0.1)
        expected = trained.learner.render(trained.base, trained.base.invert(photo), edit)
        made = refined.render(refined.consult(inversion), edit)
    torch.testing.assert_close(made, expected, atol=0.02, rtol=0.02)  # shipped in half precision


def test_the_stage_needs_a_generator(pack: data.Pack, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^Train the generator at 32 px first\.$"):
        styleres.train(pack, tmp_path, RESIDUALS, CPU)
