"""Stage `reganie`: the rectifying network, on triplets (distortion map dI, coarse picture I^, truth I).

The paper (Li et al. 2023) draws X = G(w) and Y = G(w edited), inverts them to X^ and Y^, and asks for (Y-Y^, X^, X),
(X-X^, Y^, Y) and (X-X^, X^, X) alike. A small generator's own pictures have no detail to lose, so their distortion maps
look nothing like a photo's. Here X is always a photo, and always the truth; a third of each batch is of each kind:

- Y = X: plain reconstruction.
- Y = X bent or moved, so that the same detail lies elsewhere.
- Y = G(w edited) with the photo's distortion map carried along by the movement between the two coarse pictures: the
  paper's synthetic picture, with detail. It is only ever the source of dI, never the truth: what the carrying did
  wrong, and how G's background drifts, is not learnt. So the paper's (X-X^, Y^, Y) is left out.

In none of these must the picture follow an edit: the truth is always the photo that the distortion map came from, or
nearly so. So a real edit of each photo is rendered too, and the encoder has to see it (`refiner.missed_edit`).

Edits are steps between codes (`refiner.random_steps`) in place of DyStyle's. The paper's losses are L1, LPIPS on VGG16
and a StyleGAN2 discriminator with R1, all of weight 1. Here L1 is taken at four scales; the features of the
discriminator stand in for VGG's, which cannot be shipped; the discriminator goes on from the generator stage's with a
small weight, since it is small itself. The movement learns as in stage `hfgi`, and begins with that where it has run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.hfgi import carry
from hfgi_app.networks.reganie import DEVIATION, Rectifier
from hfgi_app.refine.base import Edit
from hfgi_app.refine.reganie import rectified
from hfgi_app.train import augment, data, losses, refiner
from hfgi_app.train.hfgi import movement_loss, response_loss
from hfgi_app.train.loop import State, load, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion
from hfgi_app.weights import part


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights of this stage. A batch has a third of each kind of triplet."""

    batch: int = 6
    widths: tuple[int, int, int] = (24, 64, 96)
    dim: int = 256
    movement_width: int = 24
    matching_weight: float = 1.0
    movement_weight: float = 3.0
    missed_weight: float = 0.5
    response_weight: float = 2.0
    adversarial_weight: float = 0.02


class ReGANIELearner:
    """The rectifying network in training. start: a checkpoint of stage `hfgi`, with whose movement it begins."""

    name = "reganie"

    def __init__(self, plan: Plan, base: Base, start: State | None = None) -> None:
        self.plan = plan
        self.config: State = {
            "rectifier": {
                "widths": plan.widths,
                "dim": plan.dim,
                "movement_width": plan.movement_width,
                "finest": min(64, plan.size),
                "coarsest": min(16, plan.size),
            }
        }
        self.rectifier = Rectifier(**self.config["rectifier"])
        pass_through(self.rectifier)
        if start is not None:
            self.rectifier.movement.load_state_dict(part(start["average"], "movement"))
        self.networks = nn.ModuleDict({"rectifier": self.rectifier})

    def heads(self) -> list[nn.Parameter]:
        return []

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self._rectified(inversion.distortion, inversion.coarse, edit.coarse)

    def loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        photos = augment.odd(augment.colour(photos, rng, 0.15), rng, 0.25)
        with low_precision(base.device):
            truth = base.invert(photos)
            distortion, coarse = self._sources(base, truth, rng)
            made = self._rectified(distortion, coarse, truth.coarse)
            _, expected = base.critic(photos)
            score, features = base.critic(made)
        before, after = (_crop_sized(picture, photos) for picture in (coarse, truth.coarse))
        way, _ = self.rectifier.movement(before, after)
        some = _rows(truth, torch.arange(len(photos) // 3))
        shown, edit = self._shown(base, some, rng)
        values = {
            "pixels": losses.multiscale_l1(made, photos),
            "matching": losses.feature_distance(features, [level.detach() for level in expected]),
            "movement": movement_loss(before, after, way),
            "missed": refiner.missed_edit(base, edit, shown, rng),
            "response": response_loss(some, edit, shown),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.movement_weight * values["movement"]
            + plan.missed_weight * values["missed"]
            + plan.response_weight * values["response"]
            + plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made)

    def _shown(self, base: Base, inversion: Inversion, rng: torch.Generator) -> tuple[Tensor, Edit]:
        """Photos edited, as the refiner renders them."""
        with low_precision(base.device):
            mirrored = base.invert(inversion.source.flip(3))
            edit = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))
            return self.render(base, inversion, edit), edit

    def _rectified(self, distortion: Tensor, before: Tensor, coarse: Tensor) -> Tensor:
        codes = self.rectifier.distortion(distortion)
        return rectified(self.rectifier, codes, _crop_sized(before, distortion), coarse.float())

    @torch.no_grad()
    def _sources(self, base: Base, truth: Inversion, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distortion maps and coarse pictures of what each photo was before: itself, bent or moved, or edited."""
        same, warped, edited = (_rows(truth, rows) for rows in torch.arange(len(truth.source)).chunk(3))
        bent, moved = augment.bend(warped.source, rng, 0.06), augment.move(warped.source, rng, 0.02, 0.03, 0.04)
        choice = torch.rand(len(bent), 1, 1, 1, generator=rng).to(bent.device) < 0.5
        others = base.invert(torch.cat((torch.where(choice, bent, moved), self._edited(base, edited, rng))))
        return torch.cat((same.distortion, others.distortion)), torch.cat((same.coarse, others.coarse))

    def _edited(self, base: Base, inversion: Inversion, rng: torch.Generator) -> Tensor:
        """The photos edited, their distortion maps carried along."""
        mirrored = base.invert(inversion.source.flip(3))
        coarse = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng)).coarse
        before, after = (_crop_sized(picture, inversion.source) for picture in (inversion.coarse, coarse))
        way, fit = self.rectifier.movement(before, after)
        detail = carry(inversion.distortion, way) * resize(fit, after.shape[-1])
        return (after + detail).clamp(-1, 1)


def _crop_sized(coarse: Tensor, crop: Tensor) -> Tensor:
    return resize(coarse.float().clamp(-1, 1), crop.shape[-1])


def _rows(inversion: Inversion, rows: Tensor) -> Inversion:
    return Inversion(*(getattr(inversion, field.name)[rows] for field in fields(Inversion)))


@torch.no_grad()
def pass_through(rectifier: Rectifier) -> None:
    """Let the network begin as the distortion map itself, nothing moved: the first three channels of the finest spatial
    code are the map, and of the finest features they are one. Learning to copy would take most of a run."""
    for name in ("weight", "bias"):
        rectifier.movement.layers[-1].get_parameter(name).zero_()
    first = rectifier.distortion.get_parameter("spatial.0.weight")
    features, last = rectifier.blocks[-1].get_submodule("overall.conv"), rectifier.to_rgb
    first[:3] = 0
    features.get_parameter("weight")[:3] = 0
    features.get_parameter("bias")[:3] = 1
    last.neutral[:3] = 0
    last.conv.weight.zero_()
    for channel in range(3):
        first[channel, channel, 1, 1] = 1
        last.conv.weight[channel, channel, 1, 1] = DEVIATION
    last.conv.get_parameter("bias").zero_()


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size, and
    begins with the movement of the hfgi stage where that has run.

    Raises FileNotFoundError where there is no generator.
    """
    start = load(run / "hfgi.pt")
    refiner.train(pack, run, plan, device, lambda plan, base: ReGANIELearner(plan, base, start))
