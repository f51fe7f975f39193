"""PTI: the photo's own generator; what it shares, what it may take, how it is cancelled."""

from __future__ import annotations

import pytest
import tiny
import torch
from test_refine import edit
from torch import Tensor

from hfgi_app.errors import HfgiError
from hfgi_app.images import resize, to_tensor
from hfgi_app.models import Models
from hfgi_app.refine import pti
from hfgi_app.refine.pti import PTI
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Inversion


@pytest.fixture(scope="module")
def inversion(models: Models) -> Inversion:
    return models.invert(to_tensor(tiny.photo(64, 64)))


@pytest.fixture
def method(models: Models, monkeypatch) -> PTI:
    monkeypatch.setattr(PTI, "steps", 6)
    made = PTI()
    made.load(models.generator, {}, {})
    return made


def lost(models: Models, inversion: Inversion, picture: Tensor) -> float:
    return float((resize(picture, 64) - inversion.source).abs().mean())


class Cancelled(Exception):
    """What the page raises."""


def cancel(share: float, what: str) -> None:
    if share > 0.4:
        raise Cancelled


def test_tuning_brings_the_picture_nearer_to_the_photo(models: Models, inversion: Inversion, method: PTI) -> None:
    before = lost(models, inversion, inversion.coarse)
    found = []
    for steps in (6, 24):
        method.steps = steps
        picture = method.render(method.consult(inversion), edit(models, inversion, 0.0))
        found.append(lost(models, inversion, picture.detach()))
    assert found[1] < found[0] < before


def test_the_models_generator_is_left_alone(models: Models, inversion: Inversion, method: PTI) -> None:
    before = {name: tensor.clone() for name, tensor in models.generator.state_dict().items()}
    method.consult(inversion)
    assert all(torch.equal(tensor, before[name]) for name, tensor in models.generator.state_dict().items())
    assert not any(parameter.requires_grad for parameter in models.generator.parameters())


def test_only_what_is_tuned_is_copied(models: Models, inversion: Inversion, method: PTI) -> None:
    ours, own = models.generator.state_dict(), method.consult(inversion).generator.state_dict()
    shared = {name for name, tensor in own.items() if tensor.data_ptr() == ours[name].data_ptr()}
    assert shared == {name for name in ours if name.startswith("mapping") or "affine" in name or name.endswith("noise")}
    tuned = own.keys() - shared
    assert {"const", "layers.3.conv.weight", "to_rgbs.2.bias"} <= tuned
    assert not any(torch.equal(own[name], ours[name]) for name in tuned)


def test_the_same_photo_gives_the_same_generator(inversion: Inversion, method: PTI) -> None:
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(method.consult(inversion).generator.state_dict())
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_beside_the_pivot_the_generator_is_held(models: Models, inversion: Inversion, method: PTI) -> None:
    method.steps, strayed = 20, []
    for weight in (0.0, 20.0):
        method.locality_weight = weight
        tuned = method.consult(inversion).generator
        rng = torch.Generator().manual_seed(5)
        with torch.no_grad():
            strayed.append(sum(float(method._locality(tuned, inversion.codes, rng)) for _ in range(4)))
    assert strayed[1] < 0.8 * strayed[0]


def test_progress_rises_to_the_end(inversion: Inversion, method: PTI) -> None:
    told: list[tuple[float, str]] = []
    method.consult(inversion, lambda share, what: told.append((share, what)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(told)) == (0.0, 1.0, 7)
    assert "about 1 second" in told[0][1]
    assert "left" in told[3][1]


def test_the_estimate_is_a_passs_time_for_all_steps(inversion: Inversion, method: PTI, monkeypatch) -> None:
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(pti.time, "perf_counter", lambda: next(clock))
    assert method.estimate(inversion) == 0.5 * pti.PASSES * 6


def test_what_would_take_hours_is_refused_before_it_begins(inversion: Inversion, method: PTI, monkeypatch) -> None:
    monkeypatch.setattr(PTI, "estimate", lambda self, inversion: 3 * 3600.0)
    told: list[float] = []
    with pytest.raises(HfgiError, match=r"^PTI would take about 3 hours here; choose another method, or use a GPU\.$"):
        method.consult(inversion, lambda share, what: told.append(share))
    assert told == [0.0]
    monkeypatch.setattr(PTI, "estimate", lambda self, inversion: 599.0)
    method.consult(inversion)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (40, "40 seconds"), (119, "119 seconds"), (150, "2 minutes"), (9000, "2 hours")],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert pti._spoken(seconds) == words


def test_a_cancelled_session_keeps_nothing_and_goes_on(models: Models, method: PTI) -> None:
    session, recipe = EditSession(models), EditRecipe((("interfacegan/age", 1.0),))
    session.open(tiny.photo(64, 64), aligned=True)
    before, weight = session.render(recipe), session.nbytes
    with pytest.raises(Cancelled):
        session.prepare("pti", cancel)
    assert session.nbytes == weight
    assert (session.render(recipe) == before).all()
    session.prepare("pti", lambda share, what: None)
    assert session.nbytes > weight
    assert session.raw(EditRecipe(recipe.strengths, method="pti")).shape == (32, 32, 3)
