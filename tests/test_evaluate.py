"""Measuring: figures against hand-computed ones and other libraries, judges on known changes, cheats that must fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import hfgi_app.models
from hfgi_app import face, images
from hfgi_app.cli import main
from hfgi_app.errors import NoFaceError, PhotoError, RecipeError
from hfgi_app.evaluate import bench, measures, photos, report, run, stages, summary, table
from hfgi_app.evaluate.judges import Judges, Reading
from hfgi_app.evaluate.photos import Faces
from hfgi_app.evaluate.report import Rebuilt
from hfgi_app.evaluate.shape import Shapes, angles, frontal
from hfgi_app.evaluate.summary import Seen, Shot
from hfgi_app.networks.follow import carry
from hfgi_app.types import Method

ASSETS = Path(__file__).parent.parent / "assets"
NAN = float("nan")


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Three aligned faces, 3 x 128 x 128 x 3."""
    opened = [images.read(ASSETS / f"{name}.jpg") for name in ("woman", "glasses", "man")]
    found = [face.align(photo, face.choose(face.detect(photo)), 128) for photo in opened]
    return np.array([images.to_photo(one.crop) for one in found])


@pytest.fixture(scope="module")
def meshes(people) -> list:
    return [face.mesh(photo) for photo in (*people, *people[:, :, ::-1])]


@pytest.fixture(scope="module")
def faces(people) -> Faces:
    """Three people to test on, and toned copies of them to learn from: their hair is as light as they were made."""
    rng = np.random.default_rng(0)
    light = rng.uniform(-1, 1, 60)
    toned = [(255 * (people[row % 3] / 255) ** 2 ** -light[row]).astype(np.uint8) for row in range(60)]
    labels = {"hair_L": np.array([*light, 0, 0, 0], np.float32), "yaw": np.array([*[NAN] * 60, 1, 2, 3], np.float32)}
    return Faces(np.array([*toned, *people]), np.arange(63) >= 60, labels)


@pytest.fixture(scope="module")
def known(faces) -> Judges:
    return Judges(faces)


def gradient(size: int = 64) -> np.ndarray:
    return tiny.photo(size, size, seed=3)


# --- measures --------------------------------------------------------------------------------------------------------


def test_a_face_rebuilt_ten_levels_too_light() -> None:
    photo = np.full((64, 64, 3), 100, np.uint8)
    found = measures.rebuilt(photo, photo + np.uint8(10))
    assert found.mae == pytest.approx(10 / 255, abs=1e-6)
    assert found.l2 == pytest.approx((20 / 255) ** 2, abs=1e-6)
    assert found.ll == pytest.approx(20 / 255, abs=1e-6)
    assert max(found.lh, found.hl, found.hh) == pytest.approx(0, abs=1e-6)


def test_bands_tell_stripes_by_their_course() -> None:
    photo = np.full((64, 64, 3), 100, np.uint8)
    upright, lying = photo.copy(), photo.copy()
    upright[:, ::2] += 10
    lying[::2] += 10
    chess = photo.copy()
    chess[::2, ::2] += 10
    chess[1::2, 1::2] += 10
    bands = [measures.rebuilt(photo, picture) for picture in (upright, lying, chess)]
    assert [(one.lh > 0.01, one.hl > 0.01, one.hh > 0.01) for one in bands] == [
        (False, True, False),
        (True, False, False),
        (False, False, True),
    ]


def test_similarity_is_that_of_other_libraries() -> None:
    from skimage.metrics import structural_similarity

    photo = gradient()
    made = (photo + np.random.default_rng(0).normal(0, 20, photo.shape)).clip(0, 255).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    expected = structural_similarity(photo, made, data_range=255, **options)
    assert measures.rebuilt(photo, made).ssim == pytest.approx(expected, abs=1e-4)


def test_a_perfect_copy_is_perfect() -> None:
    found = measures.rebuilt(gradient(), gradient())
    assert (found.mae, found.l2, found.hh) == (0, 0, 0)
    assert (found.ssim, found.ms_ssim) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_found_first_among_the_known() -> None:
    known = np.eye(3)
    pictures = np.array([[0.9, 0.1, 0], [0.8, 0.6, 0], [NAN] * 3, [0, 0, 1]])
    own = np.array([0, 1, 2, 2])
    assert measures.found_first(known, pictures, own) == 0.5  # the second looks like another, the third like nobody
    assert measures.alike(known, pictures, own) == pytest.approx((0.9 + 0.6 + 1) / 3)
    known[2] = NAN  # a photo in which no face was found is nobody's
    assert measures.found_first(known, np.array([[0, 0, 1.0]]), np.array([2])) == 0


def test_order() -> None:
    values = np.array([[0, 1, 2], [0, 2, 1], [2, 1, 0], [0, NAN, 2]], float)
    assert measures.monotonic(values, rising=True) == 0.25
    assert measures.monotonic(values, rising=False) == 0.25


def test_agreement_with_labels() -> None:
    labels, readings = np.array([1.0, 2, 3, 4, NAN]), np.array([2.0, 4.5, 6, 8, 99])
    found = measures.agreement(labels, readings)
    assert found.correlation == pytest.approx(np.corrcoef(labels[:4], readings[:4])[0, 1])
    assert found.slope == pytest.approx(np.polyfit(labels[:4], readings[:4], 1)[0])
    assert np.isnan(measures.agreement(np.ones(4), readings[:4]).correlation)


def test_background_keeps_away_from_the_person() -> None:
    person = np.zeros((100, 100), np.float32)
    person[40:, 30:70] = 1
    behind = measures.background(person)
    assert behind[30, 50]
    assert behind[60, 20]
    assert not behind[38, 50]
    assert not behind[60, 28]
    before = np.zeros((100, 100, 3), np.uint8)
    after = before.copy()
    after[40:, 30:70] = 255
    assert measures.change(before, after, behind) == 0
    assert np.isnan(measures.change(before, after, np.zeros((100, 100), bool)))


def test_flow_carries_detail_along() -> None:
    rng = np.random.default_rng(0)
    coarse = images.scale(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), 128)
    way = measures.flow(coarse, np.roll(coarse, 5, axis=1))
    inside = (slice(None), slice(None), slice(20, -20), slice(20, -20))
    assert way[inside][:, 0].median() == pytest.approx(-5 / 128, abs=0.004)
    assert way[inside][:, 1].median() == pytest.approx(0, abs=0.004)


def test_fine_detail_has_no_light_in_it() -> None:
    light = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    assert measures.fine(light)[..., 4:-4].abs().max() < 1e-5
    dot = torch.zeros(1, 3, 64, 64)
    dot[..., 32, 32] = 1
    assert measures.fine(dot)[0, 0, 32, 32] > 0.9


# --- judges ----------------------------------------------------------------------------------------------------------


def turned(mesh: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """A mesh after a known turn of the head: nose to the right of the picture, then up."""
    view, a, b = np.array([1, -1, -1]), np.radians(yaw), np.radians(pitch)
    across = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    up = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    return (mesh * view) @ (across @ up).T * view


def test_a_mesh_lies_on_its_face(people) -> None:
    mesh = face.mesh(people[2])
    assert mesh.shape == (478, 3)
    left, right = (mesh[points, :2].mean(axis=0) for points in ([33, 133], [362, 263]))
    assert left == pytest.approx([0.38, 0.5], abs=0.06)
    assert right == pytest.approx([0.62, 0.5], abs=0.06)
    assert mesh[4, 2] < mesh[234, 2]  # the nose is nearer than an ear
    assert face.mesh(np.full((64, 64, 3), 90, np.uint8)) is None


def test_a_person_is_told_from_the_background(people) -> None:
    shown = face.person(people[2])
    assert shown.shape == people[2].shape[:2]
    assert shown[64, 64] > 0.9
    assert shown[2, 2] < 0.1


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (12, 0), (-20, 0), (0, 9), (0, -9), (15, 5)])
def test_a_known_turn_is_read(meshes, yaw, pitch) -> None:
    average = (meshes[0] * [1, -1, -1])[:468]
    average = average - average.mean(axis=0)
    moved = (turned(meshes[0], yaw, pitch) * [1, -1, -1])[:468] * 0.7
    rotation, back = frontal(average, moved - moved.mean(axis=0))
    assert angles(rotation) == pytest.approx((yaw, pitch), abs=1e-6)
    assert np.allclose(back, average)


def test_mirror_images_turn_the_other_way_and_smile_the_same(meshes) -> None:
    shapes = Shapes.of(meshes)
    for one, mirrored in zip(meshes[:3], meshes[3:], strict=True):
        here, there = shapes.measure(one), shapes.measure(mirrored)
        assert here["yaw"] == pytest.approx(-there["yaw"], abs=1.5)
        assert here["pitch"] == pytest.approx(there["pitch"], abs=4)  # the mesh itself is no surer
        assert here["smile"] == pytest.approx(there["smile"], abs=0.8)


def test_expression_is_read_whatever_the_turn(meshes) -> None:
    shapes = Shapes.of(meshes)
    opened = meshes[0].copy()
    opened[14, 1] += 0.05  # the lower lip drops, the lower lids too
    opened[[145, 374], 1] += 0.02
    before, after, far = (shapes.measure(mesh) for mesh in (meshes[0], opened, turned(opened, 20, 0)))
    assert after["mouth_open"] - before["mouth_open"] > 0.1
    assert after["eyes_open"] - before["eyes_open"] > 0.1
    for name in ("mouth_open", "eyes_open", "smile"):
        assert far[name] == pytest.approx(after[name], abs=0.02)


def test_people_are_known_by_their_faces(people, known) -> None:
    readings = [known.read(photo) for photo in people]
    assert known.recognise(people, readings).jittered == 1
    blurred = photos.blur(people[0], np.random.default_rng(0))
    jittered = photos.jitter(people[0], np.random.default_rng(0))
    mine = readings[0].identity
    assert known.read(jittered).identity @ mine > 0.7
    assert not known.read(blurred).identity @ mine > 0.7
    repainted = photos.other_background(people[0], np.random.default_rng(0))
    assert known.read(repainted).identity @ mine > 0.7  # neither hair nor background says who it is


def test_what_labels_teach(faces, known, people) -> None:
    assert known.names == ("yaw", "pitch", "smile", "mouth_open", "eyes_open", "hair")
    column = known.names.index("hair")
    dark, light = ((255 * (people[0] / 255) ** power).astype(np.uint8) for power in (1.6, 0.625))
    values = [known.read(photo).values[column] for photo in (dark, people[0], light)]
    assert values == sorted(values)
    found = known.agree(faces, faces.testing(), [known.read(photo) for photo in people])
    assert found.keys() == {"yaw", "hair"}
    assert np.isnan(found["hair"].correlation)  # all three labels are 0
    assert np.isfinite(found["yaw"].correlation)


def test_no_face_is_nobody(known) -> None:
    found = known.read(gradient(128))
    assert np.isnan(found.values).all()
    assert np.isnan(found.identity).all()
    with pytest.raises(NoFaceError, match="Hardly a face"):
        Judges(Faces(np.array([gradient()] * 3), np.ones(3, bool), {}))


@pytest.mark.parametrize("kind", photos.ODD)
def test_odd_photos_differ_and_repeat(people, kind) -> None:
    once, again = (photos.ODD[kind](people[2], np.random.default_rng(4)) for _ in range(2))
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    changed = np.abs(once.astype(float) - people[2]).mean(axis=2)
    assert changed.mean() > 4
    if kind == "background":
        assert changed[60:80, 55:75].mean() < 1 < changed[:20, :20].mean()


# --- summary ---------------------------------------------------------------------------------------------------------


def shots(changes: list[float], drift: float = 0.1) -> list[Shot]:
    """Two faces, one slider, an attribute that starts at 1 and 2; the identity is the face's own."""
    found = []
    for place in (0, 1):
        identity = np.eye(2, dtype=np.float32)[place]
        for share, moved in zip((0.0, *stages.SHARES), (0.0, *changes), strict=True):
            reading = Reading(np.array([1.0 + place + moved]), identity)
            found.append(Shot(place, "a/b" if share else "", share, reading, drift if share else 0, 0.2))
    return found


def seen(changes: list[float], drift: float = 0.1) -> Seen:
    readings = [Reading(np.array([1.0 + place]), np.eye(2, dtype=np.float32)[place]) for place in (0, 1)]
    return Seen([Rebuilt(*[0.5] * 8), Rebuilt(*[0.1] * 8)], readings, shots(changes, drift))


def looked(changes: list[float], base: list[float], drift: float = 0.1) -> report.Look:
    photographed = seen([0] * 4).readings
    return summary.look(seen(changes, drift), seen(base), photographed, ["thing"], {"a/b": "thing"})


def test_a_method_is_held_against_the_baseline() -> None:
    found = looked([-2, -1, 1.5, 3], base=[-4, -2, 2, 4], drift=0.025)
    response = found.sliders["a/b"]
    assert response.measured == "thing"
    assert response.shares == stages.SHARES
    assert response.changes == (-2, -1, 1.5, 3)
    assert (response.whole, response.ratio, response.monotonic) == (5, 5 / 8, 1)
    assert found.effects == {"a/b": {"thing": 6}}  # 3, where the photos spread by 0.5
    assert found.leakage["a/b"] == report.Leakage(0.25, 1)
    assert found.rebuilt == Rebuilt(*[pytest.approx(0.3)] * 8)
    assert (found.person.found, found.person_edited.found, found.lost) == (1, 1, 0)


def test_the_right_order_is_the_baselines() -> None:
    assert looked([1, 0.5, -0.5, -1], base=[2, 1, -1, -2]).sliders["a/b"].monotonic == 1
    assert looked([1, 0.5, -0.5, -1], base=[-2, -1, 1, 2]).sliders["a/b"].monotonic == 0
    assert looked([-1, 0.5, 0.4, 1], base=[-2, -1, 1, 2]).sliders["a/b"].monotonic == 0


def test_a_method_that_ignores_the_edit_has_no_response() -> None:
    response = looked([0, 0, 0, 0], base=[-4, -2, 2, 4]).sliders["a/b"]
    assert (response.whole, response.ratio, response.monotonic) == (0, 0, 0)
    assert np.isnan(looked([1, 1, 1, 1], base=[0, 0, 0, 0]).sliders["a/b"].ratio)


def test_faces_that_are_no_more_seen_count_as_lost() -> None:
    gone = seen([-4, -2, 2, 4])
    reading = Reading(np.array([NAN]), np.full(2, NAN, np.float32))
    gone.shots = [replace(shot, reading=reading) if shot.share == 0.6 else shot for shot in gone.shots]
    found = summary.look(gone, seen([-4, -2, 2, 4]), gone.readings, ["thing"], {"a/b": "thing"})
    assert found.lost == 0.25
    assert found.person_edited.found == 0.5
    assert found.sliders["a/b"].monotonic == 0
    assert np.isnan(found.sliders["a/b"].changes[-1])


# --- the whole -------------------------------------------------------------------------------------------------------


class Brightness:
    """A judge for pictures that are no faces: their light, and who they are by their pixels."""

    names = ("age",)

    def __init__(self, faces: Faces) -> None:
        pass

    def read(self, picture) -> Reading:
        small = images.scale(picture, 8).astype(np.float32).ravel()
        small -= small.mean()
        return Reading(np.array([picture.mean()]), small / np.linalg.norm(small))

    agree = Judges.agree
    recognise = Judges.recognise


@dataclass(frozen=True)
class Held:
    """What the cheats below keep of a photo."""

    distortion: torch.Tensor
    coarse: torch.Tensor
    source: torch.Tensor
    nbytes: int = 7


class Copy:
    """Shows the photo whatever the edit, and leaves the map where it is."""

    method = Method("copy", "Copy", "")

    def consult(self, inversion, progress=None) -> Held:
        return Held(inversion.distortion, inversion.coarse, inversion.source)

    def render(self, detail, edit):
        return images.resize(detail.source, edit.coarse.shape[-1])

    def align(self, detail, edit):
        return detail.distortion


class Oracle(Copy):
    """Aligns the map by the very flow that the truth was made with."""

    method = Method("oracle", "Oracle", "")

    def align(self, detail, edit):
        side = detail.distortion.shape[-1]
        before, after = (images.to_photo(images.resize(one.clamp(-1, 1), side)) for one in (detail.coarse, edit.coarse))
        return carry(detail.distortion, measures.flow(before, after))


@pytest.fixture
def cheated(monkeypatch):
    """The tiny model with e4e and two cheats, judged by light."""
    monkeypatch.setattr(run, "Judges", Brightness)
    monkeypatch.setitem(run.TARGETS, "pose", "age")
    models = tiny.models(networks=("generator", "encoder"))
    models.refiners = {"e4e": models.refiners["e4e"], "copy": Copy(), "oracle": Oracle()}
    return models


def pictures(count: int) -> Faces:
    return Faces(np.array([tiny.photo(64, 64, seed) for seed in range(count)]), np.ones(count, bool), {})


def test_a_copy_is_a_perfect_picture_that_smothers_every_edit(cheated) -> None:
    found = run.evaluate(cheated, pictures(3), ["e4e", "copy"], limit=2)
    assert (found.faces, found.edited, list(found.methods)) == (2, 2, ["e4e", "copy"])
    e4e, copy = found.methods.values()
    assert copy.raw.rebuilt.mae < 0.03 < e4e.raw.rebuilt.mae
    assert copy.raw.person == report.Person(1, pytest.approx(1, abs=0.05))
    assert e4e.raw.sliders["interfacegan/age"].ratio == 1
    for response in copy.raw.sliders.values():
        assert (response.whole, response.ratio, response.monotonic) == (0, 0, 0)
    assert all(leak.drift == 0 for leak in copy.raw.leakage.values())
    assert e4e.composited.rebuilt.mae == copy.composited.rebuilt.mae  # with no edit, both are the photo
    assert copy.cost.detail_bytes == 7
    line = next(line for line in table.lines(found) if line.startswith("interfacegan/age -> age: of e4e's"))
    assert line.split("e4e's")[1].split()[-5:-3] == ["0.00", "!"]
    assert "1.00 /" in line


def test_alignment_is_measured_against_a_known_truth(cheated) -> None:
    slider = next(one for one in cheated.sliders() if one.name == "interfacegan/pose")
    found = stages.alignment(cheated, ["e4e", "copy", "oracle"], pictures(2).photos, slider)
    assert found.keys() == {"copy", "oracle"}
    assert found["copy"] == pytest.approx(1)
    assert found["oracle"] < 0.5


def test_the_baseline_is_measured_even_where_not_asked_for(cheated, models) -> None:
    assert run.chosen(cheated, ["copy"]) == ["e4e", "copy"]
    every = {method.name for method in models.methods()}
    assert run.chosen(models, [])[0] == "e4e"
    assert set(run.chosen(models, [])) == every - {"pti"}  # slow: measured where asked for
    assert run.chosen(models, ["pti"]) == ["e4e", "pti"]
    with pytest.raises(RecipeError, match="no method 'magic'"):
        run.chosen(models, ["magic"])


def test_nothing_to_measure_is_said(models, people) -> None:
    with pytest.raises(PhotoError, match="no test face"):
        run.evaluate(models, Faces(people, np.zeros(3, bool), {}))
    grey = np.full_like(people[:1], 90)
    with pytest.raises(NoFaceError, match="in the test pictures"):
        run.evaluate(models, Faces(np.concatenate([people, grey]), np.arange(4) == 3, {}))


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, people, models, monkeypatch) -> Path:
    """Three faces in a folder, and the tiny model in place of any."""
    monkeypatch.setattr(hfgi_app.models, "load_models", lambda *_, **__: models)
    monkeypatch.setattr(run, "EDITED", 1)
    (tmp_path / "faces").mkdir()
    for row, photo in enumerate(people):
        images.write(tmp_path / "faces" / f"{row}.png", photo)
    return tmp_path / "faces"


def shape(value: object, kind: type) -> None:
    """A JSON object has the very fields of its dataclass."""
    assert isinstance(value, dict)
    assert list(value) == [one.name for one in fields(kind)]


def test_evaluate_prints_one_json_object(folder, capsys, tmp_path) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["--json", "--limit", "2", "--sheet", str(sheet), "--method", "e4e", "--method", "hfgi"]
    assert main(["evaluate", str(folder), *arguments]) == 0
    output = capsys.readouterr()
    assert output.out.count("\n") == 1
    found = json.loads(output.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    shape(found, report.Report)
    assert (found["model"], found["faces"], found["edited"]) == ("tiny", 2, 1)
    assert list(found["methods"]) == ["e4e", "hfgi"]
    for method in found["methods"].values():
        shape(method, report.Measured)
        shape(method["raw"], report.Look)
        shape(method["raw"]["rebuilt"], Rebuilt)
        shape(method["raw"]["sliders"]["interfacegan/smile"], report.Response)
        shape(method["cost"], report.Cost)
        assert method["raw"]["sliders"].keys() == {"interfacegan/pose", "interfacegan/smile", "ganspace/eyes"}
        assert method["raw"]["person"]["found"] == 0  # the tiny model shows no faces
        assert method["raw"]["rebuilt"]["mae"] > 0.01
    assert found["recognition"]["jittered"] == 1
    assert "rebuilding" in output.err
    wide = images.read(sheet)
    assert wide.shape[0] > 2 * 128
    assert wide.shape[1] == 128 * (1 + 2 + 18)


def test_evaluate_prints_a_table(folder, capsys) -> None:
    assert main(["evaluate", str(folder), "--limit", "1", "--method", "hfgi"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny, 32 px: 1 test faces, 1 of them edited; torch ")
    for name in ("rebuilt: MAE", "interfacegan/pose -> yaw: in order", "alignment: error left", "jittered 100%"):
        assert name in out


def refused(capsys) -> str:
    output = capsys.readouterr()
    assert output.out == ""
    last = output.err.splitlines()[-1]
    assert last.startswith("hfgi: ")
    assert last.endswith(".")
    return last


def test_evaluate_refuses_in_one_sentence(folder, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(tmp_path / "empty")]) == 1
    assert "Fewer than two pictures" in refused(capsys)
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    assert main(["evaluate", str(tmp_path / "bad.npz")]) == 1
    assert "no training pack" in refused(capsys)
    assert main(["evaluate", str(folder), "--method", "magic"]) == 1
    assert "no method 'magic'" in refused(capsys)
    assert main(["evaluate", str(folder), "--sheet", str(tmp_path / "sheet.txt")]) == 1
    assert "OUT must end in" in refused(capsys)
    for path in folder.iterdir():
        images.write(path, gradient())
    assert main(["evaluate", str(folder)]) == 1
    assert "Hardly a face" in refused(capsys)
    images.write(folder / "0.png", tiny.photo(40, 60))
    assert main(["evaluate", str(folder)]) == 1
    assert "not square" in refused(capsys)


def test_bench_times_every_method(models, monkeypatch, capsys) -> None:
    monkeypatch.setattr(hfgi_app.models, "load_models", lambda *_, **__: models)
    monkeypatch.setattr(bench, "FRAMES", 2)
    started = []
    monkeypatch.setattr(bench, "_start", lambda options: started.append(options) or 1.5)
    assert main(["bench", "--json", "--model", "portrait"]) == 0
    found = json.loads(capsys.readouterr().out)
    shape(found, report.Bench)
    assert started == [["--model", "portrait"]]
    assert (found["start"], found["frames"], found["preview"]) == (1.5, 2, 512)
    assert found["methods"].keys() == {method.name for method in models.methods()} - {"pti"}
    for method in found["methods"].values():
        shape(method, report.Play)
        assert 0 < method["preview"]["median"] <= method["preview"]["p90"]
    assert main(["bench", "--method", "e4e"]) == 0
    out = capsys.readouterr().out
    assert "start to loaded models 1.5 s" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["milliseconds", "e4e"]


@pytest.mark.slow
@pytest.mark.weights
def test_a_fresh_start_is_timed() -> None:
    assert bench._start(["--model", "portrait"]) > 0.2
