"""Every training stage, a few steps on a dozen made-up pictures: data, generator, hfgi, directions, export, restore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from training import CONSULT, COUNT, CPU, PLAN, SIZE, log, same, save_pictures

from hfgi_app import images
from hfgi_app.cli import main
from hfgi_app.directions import build
from hfgi_app.images import to_tensor
from hfgi_app.models import Models, embedded_tensors
from hfgi_app.networks.follow import FaceMovement, Follower, carry
from hfgi_app.networks.ops import upsample
from hfgi_app.networks.stylegan2 import Partial
from hfgi_app.session import EditSession
from hfgi_app.train import augment, data, directions, export, follow, generator, hfgi, refiner
from hfgi_app.train.loop import load
from hfgi_app.types import EditRecipe, Latents


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> data.Pack:
    folder = tmp_path_factory.mktemp("pictures")
    save_pictures(folder / "faces")
    return data.make([folder / "faces"], folder / "pack.npz", 64)


@pytest.fixture(scope="module")
def run(pack: data.Pack, tmp_path_factory) -> Path:
    """A run in which every stage has run; nothing may train on in it."""
    folder = tmp_path_factory.mktemp("run")
    generator.train(pack, folder, PLAN, CPU)
    hfgi.train(pack, folder, CONSULT, CPU)
    directions.train(pack, folder, SIZE, CPU)
    return folder


@pytest.fixture(scope="module")
def shipped(run: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "portrait"
    export.export(run, SIZE, folder)
    return folder


def course(run: Path) -> refiner.Course:
    """The hfgi stage before its first step."""
    torch.manual_seed(CONSULT.seed)
    base = refiner.Base(load(run / "generator32.pt"), CONSULT, CPU)
    return refiner.Course(CONSULT, base, hfgi.HFGILearner(CONSULT, base))


# --- data ------------------------------------------------------------------------------------------------------------


def test_a_pack_holds_pictures_splits_and_labels(pack: data.Pack) -> None:
    assert pack.pictures.shape == (COUNT, 3, 64, 64)
    assert pack.pictures.dtype == torch.uint8
    assert pack.names == tuple(f"face{number:02}" for number in range(COUNT))
    assert pack.indices(test=True).tolist() == [10, 11]
    assert pack.indices(test=False, sharp=True).tolist() == [1, 2, 4, 5, 7, 8]
    assert pack.labels.keys() == {"age_est", "gender", "native_crop_px", "split"}
    assert pack.labels["age_est"].isnan().nonzero()[:, 0].tolist() == [5]
    assert pack.labels["age_est"][11] == 53
    assert pack.labels["gender"].tolist() == [1.0, 0.0] * 6


def test_a_batch_is_float_and_averaged_down(pack: data.Pack) -> None:
    whole, half = (pack.batch(torch.tensor([3, 0]), size, CPU) for size in (64, 32))
    assert torch.equal(whole[0], pack.pictures[3] / 127.5 - 1)
    assert half.shape == (2, 3, 32, 32)
    torch.testing.assert_close(half[:, :, 0, 0], whole[:, :, :2, :2].mean((2, 3)))
    for size in (24, 128):
        with pytest.raises(ValueError, match=rf"pictures of 64 px, not to be had at {size} px; make it with --size"):
            pack.batch(torch.tensor([0]), size, CPU)


def test_pictures_without_a_table_are_all_taken(tmp_path: Path) -> None:
    for name in ("a.png", "deeper/b.jpg", "c.webp", "notes.txt"):
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            images.write(path, tiny.photo(40, 40))
    made = data.make([tmp_path / "faces"], tmp_path / "pack.npz", 32)
    assert made.names == ("a", "c", "b")
    assert made.sharp.all()
    assert made.labels == {}
    assert len(made.indices(test=True)) >= 1
    assert same(vars(made), vars(data.load(tmp_path / "pack.npz")))


def test_a_pack_without_such_pictures_says_so(pack: data.Pack) -> None:
    nothing = torch.zeros(COUNT, dtype=torch.bool)
    with pytest.raises(ValueError, match="The pack has no sharp training picture"):
        replace(pack, sharp=nothing).indices(test=False, sharp=True)
    with pytest.raises(ValueError, match="The pack has no test picture"):
        replace(pack, test=nothing).indices(test=True)


@pytest.mark.parametrize(
    "change",
    [
        augment.flip,
        augment.differentiable,
        lambda pictures, rng: augment.colour(pictures, rng, 0.2),
        lambda pictures, rng: augment.move(pictures, rng, 0.05, 0.1, 0.1),
        lambda pictures, rng: augment.bend(pictures, rng, 0.1),
        lambda pictures, rng: augment.odd(pictures, torch.rand(16, 1, 32, 32, generator=rng), rng, 0.8),
    ],
)
def test_augmentations_draw_for_every_picture_and_repeat(change) -> None:
    pictures = to_tensor(tiny.photo(32, 32)).expand(16, -1, -1, -1)
    one, again = (change(pictures, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one.shape == pictures.shape
    assert torch.equal(one, again)
    assert not all(torch.equal(row, one[0]) for row in one)
    assert one.abs().max() <= 1.5


# --- generator -------------------------------------------------------------------------------------------------------


def test_the_generator_stage_saves_logs_and_shows(run: Path) -> None:
    state = load(run / "generator32.pt")
    assert (state["seen"], state["size"]) == (12, SIZE)
    lines = [line for line in log(run) if line["stage"] == "generator32"]
    assert [line["seen"] for line in lines] == [8, 12]
    assert {"test_mae", "pixels", "adversarial", "matching", "critic", "r1"} <= lines[0].keys()
    with Image.open(run / "sheets" / "generator32-0000012.png") as sheet:
        assert sheet.size == (2 * SIZE, 4 * SIZE)


def test_training_changes_every_network(run: Path) -> None:
    fresh, state = generator.Trio(PLAN, CPU).state(), load(run / "generator32.pt")
    for network in ("generator", "encoder", "critic"):
        moved = {name for name, value in state[network].items() if not torch.equal(value, fresh[network][name])}
        kept = {name for name in fresh[network] if name not in moved}
        assert {name.split(".")[-1] for name in kept} <= {"latent_avg"}, network
        assert all(value.isfinite().all() for value in state[network].values())
    assert not same(state["generator"], state["generator_average"])


def test_same_seed_same_weights(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    generator.train(pack, tmp_path, PLAN, CPU)
    assert same(load(tmp_path / "generator32.pt"), load(run / "generator32.pt"))
    generator.train(pack, tmp_path / "other", replace(PLAN, seed=1), CPU)
    assert not same(load(tmp_path / "other" / "generator32.pt"), load(run / "generator32.pt"))


def test_resuming_goes_on_where_it_was(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    state = load(run / "generator32.pt")
    resumed = generator.Trio(PLAN, CPU)
    resumed.resume(state)
    assert same(resumed.state(), state)
    generator.train(pack, tmp_path, PLAN, CPU)
    generator.train(pack, tmp_path, replace(PLAN, pictures=20), CPU)
    assert [line["seen"] for line in log(tmp_path)] == [8, 12, 20]
    later = load(tmp_path / "generator32.pt")
    assert later["seen"] == 20
    assert not same(later["generator"], state["generator"])
    assert same(later["generator_config"], state["generator_config"])


def test_growing_begins_where_the_small_model_was(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    state = load(run / "generator32.pt")
    small, large = generator.Trio(PLAN, CPU), generator.Trio(replace(PLAN, size=64), CPU)
    small.resume(state)
    large.resume(state)
    assert large.seen == 0
    w = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = small.generator(w[:, :8]), large.generator(w)
    torch.testing.assert_close(after, upsample(before))
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    generator.train(pack, tmp_path, replace(PLAN, size=64, pictures=8), CPU)
    grown = load(tmp_path / "generator64.pt")
    assert (grown["seen"], grown["size"]) == (8, 64)
    assert grown["encoder_average"]["latent_avg"].shape == (10, 8)


# --- hfgi and directions ---------------------------------------------------------------------------------------------


def test_the_hfgi_stage_learns_its_own_networks_alone(run: Path) -> None:
    state, fresh = load(run / "hfgi.pt"), course(run)
    assert state["seen"] == 12
    for name in ("following", "alignment", "consultation"):
        learnt = {key: value for key, value in state["learners"].items() if key.startswith(f"{name}.")}
        assert learnt
        assert not same(learnt, {key: fresh.learner.networks.state_dict()[key] for key in learnt})
    assert {name.split(".")[0] for name in state["learners"]} == {
        "following",
        "alignment",
        "consultation",
    }
    assert all(value.isfinite().all() for value in state["learners"].values())
    lines = [line for line in log(run) if line["stage"] == "hfgi"]
    assert [line["seen"] for line in lines] == [8, 12]
    assert {"test_mae", "coarse_mae", "alignment", "unaligned", "response"} <= lines[0].keys()
    with Image.open(run / "sheets" / "hfgi-0000012.png") as sheet:
        assert sheet.size == (2 * SIZE, 5 * SIZE)


def test_movement_begins_as_none_and_learns_a_shift() -> None:
    torch.manual_seed(0)
    network = FaceMovement(8, 8, 16)
    way, fit = network(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    assert (way.shape, fit.shape) == ((2, 2, 16, 16), (2, 1, 16, 16))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    rng = torch.Generator().manual_seed(0)
    shift = torch.tensor([[[[2 / 32]], [[0.0]]]])

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        before = images.resize(torch.rand(4, 3, 8, 8, generator=rng) * 2 - 1, 32)
        return before, carry(before, shift.expand(4, -1, 1, 1))

    def error() -> float:
        before, after = pair()
        with torch.no_grad():
            return float((network(before, after)[0] - shift).abs()[..., 4:-4, 4:-4].mean())

    untrained = error()
    for _ in range(150):
        before, after = pair()
        optimiser.zero_grad()
        follow.unlike(before, after, network(before, after)[0]).backward()
        optimiser.step()
    assert error() < 0.5 * min(untrained, 1 / 32)


def test_carrying_takes_each_point_from_where_it_was() -> None:
    picture = torch.rand(1, 3, 16, 16)
    assert torch.allclose(carry(picture, torch.zeros(1, 2, 4, 4)), picture, atol=1e-6)
    right = carry(picture, torch.tensor([3 / 16, 0.0]).reshape(1, 2, 1, 1))
    torch.testing.assert_close(right[..., :-3], picture[..., 3:])


def test_where_the_photo_stays_everything_is_as_it_was_and_elsewhere_it_follows() -> None:
    rng = torch.Generator().manual_seed(0)
    distortion, before, features, edited = torch.randn(4, 2, 3, SIZE, SIZE, generator=rng).unbind()
    after, right = before + 0.3, torch.tensor([2 / SIZE, 0.0]).reshape(1, 2, 1, 1).expand(2, 2, 8, 8)
    follower = Follower((4, 8, 8), (4, SIZE))
    follow.rest(follower)
    with torch.no_grad():
        begun = follower(distortion, before, after)
        torch.testing.assert_close(begun.fit, torch.full_like(begun.fit, torch.tensor(3.0).sigmoid()))
        torch.testing.assert_close(begun.stay, torch.full_like(begun.stay, torch.tensor(-3.0).sigmoid()))
        follower.stillness.layers[-1].get_parameter("bias").fill_(30)
        held = follower(distortion, before, after)
        bent = follower(distortion, before, after, bent=True)
    torch.testing.assert_close(held.distortion, distortion)
    torch.testing.assert_close(held.held(edited, features), features)
    torch.testing.assert_close(bent.distortion, torch.tensor(3.0).sigmoid() * distortion)
    assert torch.equal(bent.held(edited, features), edited)
    moved = replace(bent, way=right, fit=torch.full_like(bent.fit, 0.5))
    torch.testing.assert_close(moved.carried(features)[..., :-2], 0.5 * features[..., 2:])
    stopped = held.hold(Partial(edited, edited[..., ::2, ::2]), features, features[..., ::2, ::2])
    torch.testing.assert_close(stopped.features, features)
    torch.testing.assert_close(stopped.image, features[..., ::2, ::2])


def test_a_photo_stays_where_the_person_is_neither_before_nor_after() -> None:
    persons = torch.zeros(1, 1, SIZE, SIZE)
    persons[..., 12:20, 8:16] = 1
    still, right = torch.zeros(1, 2, 16, 16), torch.tensor([-0.25, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
    alone = follow.stays(persons, still)
    assert alone.shape == (1, 1, 16, 16)
    assert not alone[..., 5:11, 3:9].any()  # the person, and what touches them
    assert alone[..., :4, :].all()
    assert alone[..., 8, 13:].all()
    moved = follow.stays(persons, right)
    assert not moved[..., 6:10, 4:12].any()  # where they were, and a quarter to the right of it
    assert moved[..., :4, :].all()


def test_the_background_is_asked_to_stay_and_the_face_to_follow(run: Path, pack: data.Pack) -> None:
    base = course(run).base
    inversion = base.invert(pack.batch(torch.arange(2), SIZE, CPU))
    edit = base.edit(inversion, inversion.codes + 0.3)
    alone = torch.zeros(2, 1, 16, 16)
    alone[..., :4] = 1
    wanted = edit.coarse.clamp(-1, 1) - inversion.coarse.clamp(-1, 1)
    there = images.resize(alone, SIZE)
    follows, stays = inversion.source + (there == 0) * wanted, inversion.source
    ghost = inversion.source + wanted
    losses = [float(follow.response_loss(inversion, edit, picture, alone)) for picture in (follows, stays, ghost)]
    assert losses[0] < 0.2 * min(losses[1:])


def test_alignment_begins_without_a_correction(run: Path) -> None:
    learner = course(run).learner
    maps, edited = torch.randn(2, 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).unbind()
    with torch.no_grad():
        assert torch.equal(learner.alignment(maps, edited), torch.zeros_like(maps))


def test_the_hfgi_stage_resumes_and_repeats(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    (tmp_path / "generator32.pt").write_bytes((run / "generator32.pt").read_bytes())
    resumed = course(run)
    resumed.resume(load(run / "hfgi.pt"))
    assert same(resumed.state(), load(run / "hfgi.pt"))
    hfgi.train(pack, tmp_path, CONSULT, CPU)
    assert same(load(tmp_path / "hfgi.pt"), load(run / "hfgi.pt"))
    hfgi.train(pack, tmp_path, replace(CONSULT, pictures=16), CPU)
    assert [line["seen"] for line in log(tmp_path)] == [8, 12, 16]
    assert load(tmp_path / "generator32.pt")["seen"] == 12


def test_directions_are_fitted_for_the_labels_there_are(run: Path) -> None:
    found = load(run / "directions.pt")["directions"]
    assert found.keys() == {"age"}
    assert found["age"].shape == (8, 8)
    assert found["age"].isfinite().all()
    assert found["age"].norm() > 0


def test_a_fitted_direction_is_the_change_per_unit_with_the_others_held() -> None:
    rng = torch.Generator().manual_seed(0)
    years, smile = 20 + 50 * torch.rand(400, generator=rng), torch.randn(400, generator=rng)
    smile = smile + 0.05 * years  # older people smile more here: age must not become a smile
    truth = torch.randn(2, 3, 4, generator=rng)
    codes = (
        0.05 * torch.randn(400, 3, 4, generator=rng) + years[:, None, None] * truth[0] + smile[:, None, None] * truth[1]
    )
    years[7] = torch.nan
    found = directions.fit(codes, {"age_est": years, "smile": smile}, directions.TARGETS["age"])
    torch.testing.assert_close(found, truth[0], atol=0.01, rtol=0.03)


def test_a_direction_of_some_rows_moves_nothing_that_the_held_labels_move() -> None:
    rng = torch.Generator().manual_seed(0)
    eyes, smile = torch.randn(400, generator=rng), torch.randn(400, generator=rng)
    codes = 0.05 * torch.randn(400, 8, 4, generator=rng) + eyes[:, None, None]
    codes[:, :, 2:] += smile[:, None, None]
    found = directions.fit(codes, {"eyes_open": eyes, "smile": smile}, directions.TARGETS["eyes"])
    assert found[:3].abs().max() == 0
    assert (found[3:, :2] > 0.005).all()
    assert found[3:, 2:].abs().max() < 0.1 * found[3:, :2].min()


# --- export and restore ----------------------------------------------------------------------------------------------


def test_the_exported_folder_is_a_model(shipped: Path) -> None:
    assert {path.name for path in shipped.iterdir()} == {
        "base.safetensors",
        "hfgi.safetensors",
        "directions.safetensors",
    }
    tensors, config = embedded_tensors(shipped)
    models = Models(tiny.INFO, tensors, config, build(tensors, config), CPU)
    assert (models.size, models.encoder_size) == (SIZE, SIZE)
    assert [method.name for method in models.methods()] == ["hfgi", "e4e", "pti"]
    slider = models.sliders()[0]
    assert (slider.name, slider.unit) == ("interfacegan/age", "yr")
    photo = tiny.photo(SIZE, SIZE)
    inversion = models.invert(to_tensor(photo))
    assert inversion.coarse.isfinite().all()
    session = EditSession(models)
    session.open(photo, aligned=True)
    assert np.array_equal(session.render(EditRecipe()), photo)
    aged = EditRecipe(((slider.name, slider.high),))
    assert np.abs(session.raw(aged).astype(int) - session.raw(EditRecipe())).max() > 0


def test_what_is_exported_is_the_averaged_weights(run: Path, shipped: Path) -> None:
    tensors, config = embedded_tensors(shipped)
    state = load(run / "generator32.pt")
    for name, value in state["generator_average"].items():
        torch.testing.assert_close(tensors[f"generator.{name}"], value, atol=1e-3, rtol=1e-3)
    pictures = generator.Generator(generator.GeneratorConfig(**state["generator_config"]))
    pictures.load_state_dict(state["generator_average"])
    models = Models(tiny.INFO, tensors, config, {}, CPU)
    w = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        styles = models.generator.styles(Latents(w))
        made = models.generator.finish(models.generator.begin(styles), styles)
        torch.testing.assert_close(made, pictures(w), atol=0.05, rtol=0.05)


def test_a_restored_run_goes_on(pack: data.Pack, run: Path, shipped: Path, tmp_path: Path) -> None:
    export.restore(tmp_path, shipped)
    state, original = load(tmp_path / "generator32.pt"), load(run / "generator32.pt")
    assert (state["seen"], state["size"]) == (12, SIZE)
    for network, source in (("generator", "generator_average"), ("encoder", "encoder_average"), ("critic", "critic")):
        assert state[network].keys() == original[source].keys()
        for name, value in state[network].items():
            torch.testing.assert_close(value, original[source][name], atol=1e-3, rtol=1e-3)
    generator.train(pack, tmp_path, replace(PLAN, pictures=20), CPU)
    assert [line["seen"] for line in log(tmp_path)] == [20]
    export.export(tmp_path, SIZE, tmp_path / "weights" / "portrait")
    assert [path.name for path in (tmp_path / "weights" / "portrait").iterdir()] == ["base.safetensors"]


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_stage_by_its_command(tmp_path: Path, capsys) -> None:
    save_pictures(tmp_path / "faces", side=SIZE)
    run, shipped = tmp_path / "run", tmp_path / "weights" / "portrait"
    options = ["--run", str(run), "--size", "32", "--weights", str(shipped), "--device", "cpu"]
    for stage in (["data", str(tmp_path / "faces")], ["generator"], ["hfgi"], ["directions"], ["export"]):
        assert main(["train", *stage, "--pictures", "8", *options]) == 0, capsys.readouterr().err
    assert main(["train", "restore", "--run", str(tmp_path / "again"), *options[2:]]) == 0
    assert load(tmp_path / "again" / "generator32.pt")["seen"] == 8
    assert capsys.readouterr().out == ""
    assert embedded_tensors(shipped)[1].keys() == {
        "generator", "encoder", "following", "alignment", "consultation", "interfacegan",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("data",), "Fewer than two pictures found; give folders of"),
        (("data", "nowhere"), "Fewer than two pictures found; give folders of"),
        (("generator",), "pack.npz; make it with `train data FOLDER ...` first."),
        (("hfgi",), "pack.npz; make it with `train data FOLDER ...` first."),
        (("export",), "Train the generator at 128 px first."),
        (("restore", "--weights", "nowhere"), "The embedded weights are missing"),
        (("generator", "--device", "abacus"), "There is no device 'abacus' here; use auto or cpu."),
    ],
    ids=" ".join,
)
def test_what_a_stage_lacks_is_told(tmp_path: Path, monkeypatch, capsys, arguments, what) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("hfgi: ")
    assert what in output.err
    assert output.err.endswith(".\n")
    assert output.err.count("\n") == 1


def test_stages_out_of_order_are_told(pack: data.Pack, run: Path, tmp_path: Path) -> None:
    for early in (
        lambda: hfgi.train(pack, tmp_path, CONSULT, CPU),
        lambda: directions.train(pack, tmp_path, SIZE, CPU),
        lambda: export.export(tmp_path, SIZE, tmp_path / "out"),
    ):
        with pytest.raises(FileNotFoundError, match=r"^Train the generator at 32 px first\.$"):
            early()
    with pytest.raises(ValueError, match=r"^The pack has no labels; directions need"):
        directions.train(replace(pack, labels={}), run, SIZE, CPU)


def test_a_broken_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,age_est\na.png,30\n")
    with pytest.raises(ValueError, match=r"^labels\.csv .*column named file"):
        data.make([tmp_path], tmp_path / "pack.npz", 32)
    (tmp_path / "labels.csv").write_text("file,age_est\na.png,30\nb.png,40\n")
    with pytest.raises(FileNotFoundError, match=r"^labels\.csv names a\.png, which is not there\.$"):
        data.make([tmp_path], tmp_path / "pack.npz", 32)
    assert not (tmp_path / "pack.npz").exists()
