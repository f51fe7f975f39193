"""Stage `hfgi`: alignment and consultation on a frozen generator and encoder.

The published recipe (Wang et al. 2022, section 3.4) aligns randomly warped distortion maps back to the unedited
picture, so its alignment never sees an edit. Here it sees two kinds of pairs. Of photos bent or moved the truth is
known: the map of x is to be aligned to the coarse y, and the render must be y; where y is x this is plain
reconstruction. Of edits (steps between the codes of two photos, as StyleRes simulates them, or towards the mirror
image, or along the run's sliders) both coarse pictures are known: the movement between them is learnt from these (the
one must look like the other once carried along), alignment must keep most of the carried map, and the render must
change where the face is as the coarse picture changes, stay the photo in the corners (from this stillness learns where
to leave it alone), and be read by the encoder as the edited codes, the whole step of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.hfgi import (
    Consultation,
    ConsultationEncoder,
    DistortionAlignment,
    FaceMovement,
    Stillness,
    carry,
    left_alone,
)
from hfgi_app.refine.base import Edit
from hfgi_app.refine.hfgi import moved
from hfgi_app.train import augment, data, losses, refiner
from hfgi_app.train.loop import State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion

STILL = 4.0
"""How much a change of the corners counts beside one of the face that is not the edit's."""


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights of this stage."""

    learning_rate: float = 1.5e-3
    head_learning_rate: float = 7e-3
    decay_from: float = 0.35
    movement_width: int = 24
    stillness_width: int = 16
    alignment_widths: tuple[int, int, int, int] = (8, 16, 24, 32)
    consultation_widths: tuple[int, int, int] = (24, 32, 48)
    head_width: int = 64
    matching_weight: float = 1.0
    movement_weight: float = 1.5
    alignment_weight: float = 3.0
    kept_weight: float = 0.5
    missed_weight: float = 3.0
    response_weight: float = 8.0
    adversarial_weight: float = 0.02


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the method: the picture, the aligned map, the one before correction, and the map that the movement
    alone carried; the loss of the movement."""

    picture: Tensor
    aligned: Tensor
    kept: Tensor
    carried: Tensor
    movement: Tensor


class HFGILearner:
    """The four networks of the method in training."""

    name = "hfgi"

    def __init__(self, plan: Plan, base: Base) -> None:
        self.plan = plan
        self.config: State = {
            "movement": {"width": plan.movement_width, "finest": min(64, plan.size), "coarsest": min(16, plan.size)},
            "stillness": {"width": plan.stillness_width, "size": min(64, plan.size)},
            "alignment": {"widths": plan.alignment_widths},
            "consultation": {
                "features": base.features,
                "widths": plan.consultation_widths,
                "head_width": plan.head_width,
                "strides": strides(plan.size, base.generator_config.hook),
            },
        }
        self.movement = FaceMovement(**self.config["movement"])
        self.stillness = Stillness(**self.config["stillness"])
        self.alignment = DistortionAlignment(**self.config["alignment"])
        self.consultation = ConsultationEncoder(**self.config["consultation"])
        rest(self.movement, self.stillness, self.alignment)
        with torch.no_grad():
            for head in (self.consultation.scale, self.consultation.shift):
                head[-1].get_parameter("weight").mul_(0.1)
        self.networks = nn.ModuleDict(
            {
                "movement": self.movement,
                "stillness": self.stillness,
                "alignment": self.alignment,
                "consultation": self.consultation,
            }
        )

    def heads(self) -> list[nn.Parameter]:
        return [*self.consultation.scale.parameters(), *self.consultation.shift.parameters()]

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self.follow(base, inversion, edit).picture

    def follow(self, base: Base, inversion: Inversion, edit: Edit) -> Pass:
        """The refiner's render for a batch, with what happened on the way; the loss of the movement beside it."""
        side = inversion.distortion.shape[-1]
        before, after = (resize(coarse.float().clamp(-1, 1), side) for coarse in (inversion.coarse, edit.coarse))
        carried, way, fit = moved(self.movement, inversion.distortion, before, after)
        # Movement learns where things go from the coarse pictures alone; what still fits, from the render as well.
        fixed = carry(inversion.distortion, way.detach()) * resize(fit, side)
        kept = left_alone(self.stillness, fixed, inversion.distortion, before, after)
        aligned = kept + self.alignment(kept, after).float()
        scale, shift = self.consultation(aligned)
        picture = base.generator.finish(edit.partial, edit.styles, features=Consultation(scale, shift))
        return Pass(picture, aligned, kept, carried, movement_loss(before, after, way))

    def difference(self, made: Tensor, truth: Tensor) -> Tensor:
        """How unlike two pictures are."""
        return losses.multiscale_l1(made, truth)

    def loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        half = len(photos) // 2
        pair, edit = self._pair_loss(base, photos[half:], rng), self._edit_loss(base, photos[:half], rng)
        return Loss(pair.total + edit.total, pair.values | edit.values, torch.cat((pair.fakes, edit.fakes)))

    def _pair_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        before, after = bent_pairs(photos, rng)
        with low_precision(base.device):
            first, second = base.invert(before), base.invert(after)
            made = self.follow(base, first, base.edit(first, second.codes))
            _, truth = base.critic(after)
            score, features = base.critic(made.picture)
        values = {
            "pixels": self.difference(made.picture, after),
            "alignment": F.l1_loss(made.aligned, second.distortion),
            "unaligned": F.l1_loss(first.distortion, second.distortion),
            "matching": losses.feature_distance(features, [level.detach() for level in truth]),
            "carried": F.l1_loss(made.carried, second.distortion),
            "pair_movement": made.movement,
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.alignment_weight * (values["alignment"] + values["carried"])
            + plan.movement_weight * made.movement
            + plan.adversarial_weight * losses.generator_loss(score)
        )
        return Loss(total, values, made.picture)

    def _edit_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        with low_precision(base.device):
            inversion, mirrored = base.invert(photos), base.invert(photos.flip(3))
            edit = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))
            made = self.follow(base, inversion, edit)
            score, _ = base.critic(made.picture)
        values = {
            "movement": made.movement,
            "response": response_loss(inversion, edit, made.picture),
            "kept": F.l1_loss(made.aligned, made.kept.detach()),
            "missed": refiner.missed_edit(base, edit, made.picture, rng),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.movement_weight * values["movement"]
            + plan.response_weight * values["response"]
            + plan.kept_weight * values["kept"]
            + plan.missed_weight * values["missed"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made.picture)


@torch.no_grad()
def rest(movement: FaceMovement, stillness: Stillness, alignment: DistortionAlignment) -> None:
    """Neither movement nor correction to begin with, and hardly anything left alone."""
    for network in (movement, stillness):
        for name in ("weight", "bias"):
            network.layers[-1].get_parameter(name).zero_()
    for norm in ("1.res_layer.4", "1.shortcut_layer.1", "2.res_layer.4"):
        alignment.up[-1].get_parameter(f"{norm}.weight").zero_()


def response_loss(inversion: Inversion, edit: Edit, picture: Tensor) -> Tensor:
    """How far the face's low-pass change is from the coarse picture's, and how far the corners changed at all."""
    size = picture.shape[-1] // 4
    photos, before, after = (
        F.adaptive_avg_pool2d(part.float(), size)
        for part in (inversion.source, inversion.coarse.clamp(-1, 1), edit.coarse.clamp(-1, 1))
    )
    change = F.adaptive_avg_pool2d(picture.float(), size) - photos
    face = losses.ellipse(size, (0.5, 0.55), (0.36, 0.48)).to(picture.device)  # the head, as FFHQ aligns it
    face = face * losses.features_weight(size).to(picture.device)
    follows = (face * (change - (after - before)).abs()).mean()
    return follows + STILL * ((1 - face).clamp(min=0) * change.abs()).mean()


def movement_loss(before: Tensor, after: Tensor, way: Tensor) -> Tensor:
    """How unlike the edited picture the unedited one is once carried along, both N x 3 x S x S, tone apart and at
    several scales; and how uneven the movement is."""
    size = way.shape[-1]
    then, now = (F.adaptive_avg_pool2d(picture, size) for picture in (before, after))
    then, now = (_detail(picture) for picture in (carry(then, way), now))
    unlike = losses.multiscale_l1(then, now, losses.features_weight(size).to(way.device))
    uneven = (way.diff(dim=2).abs().mean() + way.diff(dim=3).abs().mean()) * size
    return unlike + 0.02 * uneven + 0.2 * way.abs().mean()


def _detail(picture: Tensor) -> Tensor:
    """A picture without its tone: what changes within a quarter of the side."""
    side = picture.shape[-1]
    broad = F.interpolate(F.adaptive_avg_pool2d(picture, 8), size=(side, side), mode="bilinear", align_corners=False)
    return picture - broad


def strides(size: int, hook: int) -> tuple[int, int]:
    """The consultation encoder's strides for a map of this size."""
    return {4: (2, 2), 2: (2, 1), 1: (1, 1)}[size // hook]


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, HFGILearner)


def bent_pairs(photos: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photos, and the same photos after a known change of geometry: half unchanged, the others bent or moved; some
    unlike the photos that the encoder knows."""
    photos = augment.odd(augment.colour(photos, rng, 0.15), rng, 0.15)
    kinds = torch.randint(4, (photos.shape[0],), generator=rng).tolist()
    bent, moved = augment.bend(photos, rng, 0.06), augment.move(photos, rng, 0.02, 0.03, 0.04)
    options = (photos, photos, bent, moved)
    return photos, torch.stack([options[kind][row] for row, kind in enumerate(kinds)])
