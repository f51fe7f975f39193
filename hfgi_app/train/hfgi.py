"""Stage `hfgi`: alignment and consultation on a frozen generator and encoder.

The published recipe (Wang et al. 2022, section 3.4) aligns randomly warped distortion maps back to the unedited
picture, so its alignment never sees an edit. Here it sees two kinds of pairs. Of photos bent or moved the truth is
known: the map of x is to be aligned to the coarse y, and the render must be y; where y is x this is plain
reconstruction. Of edits (steps between the codes of two photos, as StyleRes simulates them, or towards the mirror
image, or along the run's sliders) both coarse pictures are known: the movement between them is learnt from these (the
one must look like the other once carried along), alignment must keep most of the carried map, and the render must
change where the face is as the coarse picture changes, stay the photo where it shows the person neither before nor
after (stillness learns where that is), and be read by the encoder as the edited codes, the whole step of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.follow import Follower
from hfgi_app.networks.hfgi import Consultation, ConsultationEncoder, DistortionAlignment
from hfgi_app.refine import base as refine
from hfgi_app.refine.base import Edit, Followed
from hfgi_app.train import augment, data, follow, losses, refiner
from hfgi_app.train.loop import Batch, State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion


@dataclass(frozen=True)
class Plan(follow.Plan):
    """Sizes and weights of this stage."""

    pictures: int = 40_000
    learning_rate: float = 1.5e-3
    head_learning_rate: float = 7e-3
    decay_from: float = 0.35
    alignment_widths: tuple[int, int, int, int] = (8, 16, 24, 32)
    consultation_widths: tuple[int, int, int] = (24, 32, 48)
    head_width: int = 64
    matching_weight: float = 1.0
    alignment_weight: float = 3.0
    kept_weight: float = 0.5
    adversarial_weight: float = 0.02


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the method: the picture, the aligned map, and what that was before correction."""

    picture: Tensor
    aligned: Tensor
    followed: Followed


class HFGILearner:
    """The four networks of the method in training."""

    name = "hfgi"

    def __init__(self, plan: Plan, base: Base) -> None:
        self.plan = plan
        self.config: State = {
            "following": follow.config(plan),
            "alignment": {"widths": plan.alignment_widths},
            "consultation": {
                "features": base.features,
                "widths": plan.consultation_widths,
                "head_width": plan.head_width,
                "strides": strides(plan.size, base.generator_config.hook),
            },
        }
        self.following = Follower(**self.config["following"])
        self.alignment = DistortionAlignment(**self.config["alignment"])
        self.consultation = ConsultationEncoder(**self.config["consultation"])
        follow.rest(self.following)
        correct_nothing(self.alignment)
        with torch.no_grad():
            for head in (self.consultation.scale, self.consultation.shift):
                head[-1].get_parameter("weight").mul_(0.1)
        self.networks = nn.ModuleDict(
            {"following": self.following, "alignment": self.alignment, "consultation": self.consultation}
        )

    def heads(self) -> list[nn.Parameter]:
        return [*self.consultation.scale.parameters(), *self.consultation.shift.parameters()]

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self.follow(base, inversion, edit).picture

    def follow(self, base: Base, inversion: Inversion, edit: Edit, *, bent: bool = False) -> Pass:
        """The refiner's render for a batch, with what happened on the way. bent: see `Follower`."""
        followed = refine.follow(self.following, inversion, edit, bent=bent)
        kept = followed.following.distortion
        aligned = kept + self.alignment(kept, resize(followed.coarse, kept.shape[-1])).float()
        scale, shift = self.consultation(aligned)
        picture = base.generator.finish(followed.partial, edit.styles, features=Consultation(scale, shift))
        return Pass(picture, aligned, followed)

    def difference(self, made: Tensor, truth: Tensor) -> Tensor:
        """How unlike two pictures are."""
        return losses.multiscale_l1(made, truth)

    def loss(self, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
        return follow.halves(self._pair_loss, self._edit_loss, base, batch, rng)

    def _pair_loss(self, base: Base, photos: Tensor, persons: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        before, after = bent_pairs(photos, persons, rng)
        with low_precision(base.device):
            first, second = base.invert(before), base.invert(after)
            made = self.follow(base, first, base.edit(first, second.codes), bent=True)
            _, truth = base.critic(after)
            score, features = base.critic(made.picture)
        values = {
            "pixels": self.difference(made.picture, after),
            "alignment": F.l1_loss(made.aligned, second.distortion),
            "unaligned": F.l1_loss(first.distortion, second.distortion),
            "matching": losses.feature_distance(features, [level.detach() for level in truth]),
            "carried": F.l1_loss(follow.moved(first.distortion, made.followed), second.distortion),
            "pair_movement": follow.movement_loss(made.followed),
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.alignment_weight * (values["alignment"] + values["carried"])
            + plan.movement_weight * values["pair_movement"]
            + plan.adversarial_weight * losses.generator_loss(score)
        )
        return Loss(total, values, made.picture)

    def _edit_loss(self, base: Base, photos: Tensor, persons: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        photos = augment.odd(photos, persons, rng, 0.2)
        with low_precision(base.device):
            inversion, mirrored = base.invert(photos), base.invert(photos.flip(3))
            edit = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))
            made = self.follow(base, inversion, edit)
            score, _ = base.critic(made.picture)
        following = made.followed.following
        alone = follow.stays(persons, following.way)
        values = {
            "movement": follow.movement_loss(made.followed),
            "stillness": follow.stillness_loss(following.stay, alone),
            "response": follow.response_loss(inversion, edit, made.picture, alone),
            "kept": F.l1_loss(made.aligned, following.distortion.detach()),
            "missed": refiner.missed_edit(base, edit, made.picture, rng),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.movement_weight * values["movement"]
            + plan.stillness_weight * values["stillness"]
            + plan.response_weight * values["response"]
            + plan.kept_weight * values["kept"]
            + plan.missed_weight * values["missed"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made.picture)


@torch.no_grad()
def correct_nothing(alignment: DistortionAlignment) -> None:
    """No correction to begin with."""
    for norm in ("1.res_layer.4", "1.shortcut_layer.1", "2.res_layer.4"):
        alignment.up[-1].get_parameter(f"{norm}.weight").zero_()


def strides(size: int, hook: int) -> tuple[int, int]:
    """The consultation encoder's strides for a map of this size."""
    return {4: (2, 2), 2: (2, 1), 1: (1, 1)}[size // hook]


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, HFGILearner)


def bent_pairs(photos: Tensor, persons: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photos, and the same photos after a known change of geometry: half unchanged, the others bent or moved; some
    unlike the photos that the encoder knows."""
    photos = augment.odd(augment.colour(photos, rng, 0.15), persons, rng, 0.4)
    kinds = torch.randint(4, (photos.shape[0],), generator=rng).tolist()
    bent, moved = augment.bend(photos, rng, 0.06), augment.move(photos, rng, 0.02, 0.03, 0.04)
    options = (photos, photos, bent, moved)
    return photos, torch.stack([options[kind][row] for row, kind in enumerate(kinds)])
