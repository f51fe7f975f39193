"""What a stage needs whose method follows edits with a `Follower`: where it begins, what it learns from, and what asks
a render to follow an edit where the person is and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.follow import Follower, carry
from hfgi_app.refine.base import Edit, Followed
from hfgi_app.train import losses, refiner
from hfgi_app.train.data import Pack
from hfgi_app.train.loop import Batch, State, load
from hfgi_app.train.refiner import AnyPlan, Base, Learner, Loss
from hfgi_app.types import Inversion
from hfgi_app.weights import part

PartLoss = Callable[[Base, Tensor, Tensor, torch.Generator], Loss]
"""Of the photos N x 3 x S x S and the persons N x 1 x S x S of half a batch."""
STILL = 8.0
"""How much a change of the background counts beside one of the face that is not the edit's."""
ALONE = 4.0
"""How much a place where the photo is to stay counts in learning where that is."""


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights that these stages share."""

    movement_width: int = 24
    stillness_width: int = 16
    movement_weight: float = 1.5
    stillness_weight: float = 0.5
    missed_weight: float = 3.0
    response_weight: float = 8.0


def config(plan: Plan) -> State:
    """The arguments of `Follower`."""
    return {
        "movement": (plan.movement_width, min(16, plan.size), min(64, plan.size)),
        "stillness": (plan.stillness_width, min(64, plan.size)),
    }


@torch.no_grad()
def rest(follower: Follower) -> None:
    """No movement to begin with, and hardly anything left alone."""
    for network in (follower.movement, follower.stillness):
        for name in ("weight", "bias"):
            network.layers[-1].get_parameter(name).zero_()


def begin(follower: Follower, start: State | None) -> None:
    """Begin as the one of a checkpoint of stage `hfgi`, where there is one."""
    rest(follower)
    if start is not None:
        follower.load_state_dict(part(start["average"], "following"))


@torch.no_grad()
def stays(persons: Tensor, way: Tensor) -> Tensor:
    """Where an edit leaves the photo alone, N x 1 x s x s in 0..1: neither before nor after it a person is there.

    persons: N x 1 x S x S in 0..1, before; way: N x 2 x s x s, the edit's movement.
    """
    person = F.max_pool2d(F.adaptive_max_pool2d(persons, way.shape[-1]), 5, 1, 2)
    return 1 - torch.maximum(person, carry(person, way))


def stillness_loss(stay: Tensor, alone: Tensor) -> Tensor:
    """Cross entropy, both N x 1 x s x s in 0..1. Where the photo is to stay counts more: a background that moves is
    seen, an outline that is sharp is not."""
    return F.binary_cross_entropy(stay, alone, 1 + (ALONE - 1) * alone)


def response_loss(inversion: Inversion, edit: Edit, picture: Tensor, alone: Tensor) -> Tensor:
    """How far the face's low-pass change is from the coarse picture's, and how far the photo changed at all where the
    edit is to leave it alone (N x 1 x s x s in 0..1)."""
    size = picture.shape[-1] // 4
    photos, before, after = (
        F.adaptive_avg_pool2d(part.float(), size)
        for part in (inversion.source, inversion.coarse.clamp(-1, 1), edit.coarse.clamp(-1, 1))
    )
    change = F.adaptive_avg_pool2d(picture.float(), size) - photos
    face = losses.ellipse(size, (0.5, 0.55), (0.36, 0.48)).to(picture.device)  # the head, as FFHQ aligns it
    face = face * losses.features_weight(size).to(picture.device)
    alone = resize(alone, size)
    follows = (face * (1 - alone) * (change - (after - before)).abs()).mean()
    return follows + STILL * (alone * change.abs()).mean()


def halves(pair: PartLoss, edit: PartLoss, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
    """Half of a batch as pairs whose truth is known, half as edits."""
    photos, persons, half = batch.photos, batch.persons, len(batch.photos) // 2
    known = pair(base, photos[half:], persons[half:], rng)
    edited = edit(base, photos[:half], persons[:half], rng)
    return Loss(known.total + edited.total, known.values | edited.values, torch.cat((known.fakes, edited.fakes)))


def moved(distortion: Tensor, followed: Followed) -> Tensor:
    """The distortion map N x 3 x S x S carried along and faded, with a gradient to the way."""
    following = followed.following
    return carry(distortion, following.way) * resize(following.fit, distortion.shape[-1])


def movement_loss(followed: Followed) -> Tensor:
    """How unlike the edited picture the unedited one is once carried along, tone apart and at several scales; and how
    uneven the movement is."""
    return unlike(followed.before, followed.after, followed.following.way)


def unlike(before: Tensor, after: Tensor, way: Tensor) -> Tensor:
    """`movement_loss` of pictures N x 3 x S x S and a way N x 2 x s x s."""
    size = way.shape[-1]
    then, now = (F.adaptive_avg_pool2d(picture, size) for picture in (before, after))
    then, now = (_detail(picture) for picture in (carry(then, way), now))
    differing = losses.multiscale_l1(then, now, losses.features_weight(size).to(way.device))
    uneven = (way.diff(dim=2).abs().mean() + way.diff(dim=3).abs().mean()) * size
    return differing + 0.02 * uneven + 0.2 * way.abs().mean()


def _detail(picture: Tensor) -> Tensor:
    """A picture without its tone: what changes within a quarter of the side."""
    return picture - resize(F.adaptive_avg_pool2d(picture, 8), picture.shape[-1])


def train(
    pack: Pack,
    run: Path,
    plan: AnyPlan,
    device: torch.device,
    build: Callable[[AnyPlan, Base, State | None], Learner],
) -> None:
    """As `refiner.train`, for a stage that begins with what the hfgi stage of the run has learnt, where that has run:
    build gets its checkpoint too."""
    start = load(run / "hfgi.pt")
    refiner.train(pack, run, plan, device, lambda plan, base: build(plan, base, start))
