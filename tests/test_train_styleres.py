"""The styleres stage, a few steps on made-up pictures: what learns, what it is asked for, resuming, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from training import CPU, FOLLOWING, SIZE, check_export, gathered, log, run_of, same

from hfgi_app.models import Models, embedded_tensors
from hfgi_app.train import data, refiner, styleres
from hfgi_app.train.loop import load

RESIDUALS = styleres.Plan(**FOLLOWING, width=6)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> data.Pack:
    return gathered(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory) -> Path:
    return run_of(styleres, RESIDUALS, pack, tmp_path_factory.mktemp("run"))


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
    photos, persons = pack.batch(torch.arange(4), SIZE, CPU), pack.people(torch.arange(4), SIZE, CPU)
    learner._edit_loss(before.base, photos, persons, torch.Generator().manual_seed(0)).total.backward()
    return {
        name: max(float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None)
        for name, network in learner.networks.items()
    }


def test_the_stage_learns_its_own_networks_alone(run: Path) -> None:
    state, fresh = load(run / "styleres.pt"), course(run)
    assert state["seen"] == 12
    networks = {"residual_encoder", "residual_transform", "residual_following"}
    assert {name.split(".")[0] for name in state["learners"]} == networks
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
    trained = course(run)
    check_export(run, trained.base, trained.learner, tmp_path)
    tensors, config = embedded_tensors(tmp_path / "portrait")
    assert Models(tiny.INFO, tensors, config, {}, CPU).methods()[0].name == "styleres"


def test_the_stage_needs_a_generator(pack: data.Pack, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^Train the generator at 32 px first\.$"):
        styleres.train(pack, tmp_path, RESIDUALS, CPU)
