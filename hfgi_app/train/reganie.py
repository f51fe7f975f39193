"""Stage `reganie`: the rectifying network, on triplets (distortion map dI, coarse picture I^, truth I).

The paper (Li et al. 2023) draws X = G(w) and Y = G(w edited), inverts them to X^ and Y^, and asks for (Y-Y^, X^, X),
(X-X^, Y^, Y) and (X-X^, X^, X) alike. A small generator's own pictures have no detail to lose, so their distortion maps
look nothing like a photo's. Here X is always a photo, and always the truth; a third of each batch is of each kind:

- Y = X: plain reconstruction.
- Y = X bent or moved, so that the same detail lies elsewhere.
- Y = G(w edited) with the photo's distortion map carried along by the movement between the two coarse pictures: the
  paper's synthetic picture, with detail. It is only ever the source of dI, never the truth: what the carrying did
  wrong, and how G's background drifts, is not learnt. So the paper's (X-X^, Y^, Y) is left out.

Where both codes are there the spatial one can say all, and the global one would learn nothing: now and then the spatial
one is left out. And in none of these must the picture follow an edit: the truth is always the photo that the distortion
map came from, or nearly so. So a real edit of each photo is rendered too, and the encoder has to see it
(`refiner.missed_edit`).

Edits are steps between codes (`refiner.random_steps`) in place of DyStyle's. The paper's losses are L1, LPIPS on VGG16
and a StyleGAN2 discriminator with R1, all of weight 1. Here L1 is taken at four scales; the features of the
discriminator stand in for VGG's, which cannot be shipped; the discriminator goes on from the generator stage's with a
small weight, since it is small itself. Movement and stillness learn as in stage `hfgi`, and begin with that stage's
where it has run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.reganie import DEVIATION, SQUARE, Rectifier
from hfgi_app.refine import base as refine
from hfgi_app.refine.base import Edit, Followed
from hfgi_app.train import augment, data, follow, losses, refiner
from hfgi_app.train.loop import Batch, State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion


@dataclass(frozen=True)
class Plan(follow.Plan):
    """Sizes and weights of this stage. A batch has a third of each kind of triplet.

    silent: share of the triplets without their spatial code, of which the global one has to make the best.
    """

    pictures: int = 15_000
    batch: int = 6
    widths: tuple[int, int, int] = (24, 64, 96)
    dim: int = 256
    learning_rate: float = 1e-3
    silent: float = 0.15
    matching_weight: float = 1.0
    movement_weight: float = 3.0
    adversarial_weight: float = 0.02


class ReGANIELearner:
    """The rectifying network in training. start: a checkpoint of stage `hfgi`, whose movement and stillness it begins
    with."""

    name = "reganie"

    def __init__(self, plan: Plan, base: Base, start: State | None = None) -> None:
        self.plan = plan
        self.config: State = {
            "rectifier": {
                "widths": plan.widths,
                "dim": plan.dim,
                **follow.config(plan),
            }
        }
        self.rectifier = Rectifier(**self.config["rectifier"])
        pass_through(self.rectifier)
        follow.begin(self.rectifier.following, start)
        self.networks = nn.ModuleDict({"rectifier": self.rectifier})

    def heads(self) -> list[nn.Parameter]:
        return []

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self._rectified(inversion, edit, torch.ones(1, 1, 1, 1, device=base.device))[0]

    def loss(self, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
        plan = self.plan
        photos = augment.odd(augment.colour(batch.photos, rng, 0.15), batch.persons, rng, 0.25)
        with low_precision(base.device):
            truth = base.invert(photos)
            heard = (torch.rand(len(photos), 1, 1, 1, generator=rng) >= plan.silent).to(photos)
            still = base.edit(truth, truth.codes)
            made, _ = self._rectified(self._sources(base, truth, rng), still, heard, bent=True)
            _, expected = base.critic(photos)
            score, features = base.critic(made)
            some = _rows(truth, torch.arange(len(photos) // 3))
            edit = self._edit(base, some, rng)
            shown, followed = self._rectified(some, edit, torch.ones_like(heard[:1]))
        following = followed.following
        alone = follow.stays(batch.persons[: len(shown)], following.way)
        values = {
            "pixels": losses.multiscale_l1(made, photos),
            "matching": losses.feature_distance(features, [level.detach() for level in expected]),
            "movement": follow.movement_loss(followed),
            "stillness": follow.stillness_loss(following.stay, alone),
            "missed": refiner.missed_edit(base, edit, shown, rng),
            "response": follow.response_loss(some, edit, shown, alone),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.movement_weight * values["movement"]
            + plan.stillness_weight * values["stillness"]
            + plan.missed_weight * values["missed"]
            + plan.response_weight * values["response"]
            + plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made)

    def _rectified(
        self, inversion: Inversion, edit: Edit, heard: Tensor, *, bent: bool = False
    ) -> tuple[Tensor, Followed]:
        """The refiner's render for a batch, and what followed the edit. heard: N x 1 x 1 x 1, how much of the spatial
        code; bent: see `Follower`."""
        followed = refine.follow(self.rectifier.following, inversion, edit, bent=bent)
        codes, kept, coarse = self.rectifier.distortion, followed.following.distortion, followed.coarse
        spatial, overall = heard * codes.spatial(kept), codes.overall(inversion.distortion)
        lacking = self.rectifier(resize(coarse, kept.shape[-1]), spatial, overall)
        return coarse + resize(lacking, coarse.shape[-1]), followed

    def _edit(self, base: Base, inversion: Inversion, rng: torch.Generator) -> Edit:
        mirrored = base.invert(inversion.source.flip(3))
        return base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))

    @torch.no_grad()
    def _sources(self, base: Base, truth: Inversion, rng: torch.Generator) -> Inversion:
        """What each photo was before: itself, bent or moved, or edited."""
        same, warped, edited = (_rows(truth, rows) for rows in torch.arange(len(truth.source)).chunk(3))
        bent, moved = augment.bend(warped.source, rng, 0.06), augment.move(warped.source, rng, 0.02, 0.03, 0.04)
        choice = torch.rand(len(bent), 1, 1, 1, generator=rng).to(bent.device) < 0.5
        others = base.invert(torch.cat((torch.where(choice, bent, moved), self._edited(base, edited, rng))))
        return Inversion(
            *(torch.cat((getattr(same, one.name), getattr(others, one.name))) for one in fields(Inversion))
        )

    def _edited(self, base: Base, inversion: Inversion, rng: torch.Generator) -> Tensor:
        """The photos edited, their distortion maps carried along."""
        followed = refine.follow(self.rectifier.following, inversion, self._edit(base, inversion, rng), bent=True)
        return (followed.after + followed.following.distortion).clamp(-1, 1)


def _rows(inversion: Inversion, rows: Tensor) -> Inversion:
    return Inversion(*(getattr(inversion, field.name)[rows] for field in fields(Inversion)))


@torch.no_grad()
def pass_through(rectifier: Rectifier) -> None:
    """Let the network begin as the distortion map itself: the first channels of the spatial code are the
    map, so are the first three of its finest modulation, and of the finest features they are one. Learning to copy
    would take most of a run."""
    encoder, features, last = rectifier.distortion, rectifier.blocks[-1].get_submodule("overall.conv"), rectifier.to_rgb
    channels = 3 * SQUARE**2
    encoder.lift.weight.zero_()
    encoder.body[-1].get_parameter("weight").zero_()
    finest = rectifier.spread[-1].get_parameter("weight")
    finest[:channels] = 0
    for channel in range(channels):
        encoder.lift.weight[channel, channel] = 1
        finest[channel, channel] = 1
    features.get_parameter("weight")[:3] = 0
    features.get_parameter("bias")[:3] = 1
    last.neutral[:3] = 0
    last.conv.weight.zero_()
    for channel in range(3):
        last.conv.weight[channel, channel, 1, 1] = DEVIATION
    last.conv.get_parameter("bias").zero_()
    for name in ("weight", "bias"):
        rectifier.to_tone.conv.get_parameter(name).zero_()


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size, and
    begins with movement and stillness of the hfgi stage where that has run.

    Raises FileNotFoundError where there is no generator.
    """
    follow.train(pack, run, plan, device, ReGANIELearner)
