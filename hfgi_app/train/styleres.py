"""Stage `styleres`: E1 and E2 on a frozen generator and encoder (Pehlivan et al. 2023, section 3.3).

As published, half of a batch is not edited and must come back as the photo. The other half takes a random step in
latent space: the render must look real, and once it is encoded again and the step taken back it must give the photo, so
that the edit is there to be seen and nothing of the photo is lost in it. The paper compares by pixels, VGG and an
identity network; here the discriminator's features stand in for the networks.

Four things differ, for a small model in few steps. A step leads towards another photo's codes or the mirror image's,
not to a drawn w. Of half of the photos that are not edited the codes are those of the same photo bent or moved, which
must be the render: so E2 learns to move detail. An edit must be read in the render: by the encoder, as the edited
codes, and in the face, which must change as the coarse picture does. And what E2 is given follows the edit already
(`networks.follow`), movement and stillness learning as in stage `hfgi`, and beginning with that stage's where it has
run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.follow import Follower
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualTransform
from hfgi_app.refine import base as refine
from hfgi_app.refine.base import Edit, Followed, invert
from hfgi_app.train import augment, data, follow, losses, refiner
from hfgi_app.train.hfgi import bent_pairs
from hfgi_app.train.loop import Batch, State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion, Latents


@dataclass(frozen=True)
class Plan(follow.Plan):
    """Sizes and weights of this stage."""

    pictures: int = 16_000
    width: int = 48
    learning_rate: float = 1e-3
    matching_weight: float = 1.0
    cycle_weight: float = 1.0
    missed_weight: float = 2.0
    residual_weight: float = 0.01
    adversarial_weight: float = 0.02


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the method: the picture, what followed the edit, and how large what E2 adds is beside the features
    it is added to."""

    picture: Tensor
    followed: Followed
    share: Tensor


class StyleResLearner:
    """The networks of the method in training. start: a checkpoint of stage `hfgi`, with whose movement and stillness
    it begins."""

    name = "styleres"

    def __init__(self, plan: Plan, base: Base, start: State | None = None) -> None:
        self.plan = plan
        self.config: State = {
            "residual_encoder": {
                "encoder_features": base.encoder_config.widths[2],
                "features": base.features,
                "width": plan.width,
            },
            "residual_transform": {"features": base.features, "residual": plan.width, "width": plan.width},
            "residual_following": follow.config(plan),
        }
        self.encoder = ResidualEncoder(**self.config["residual_encoder"])
        self.transform = ResidualTransform(**self.config["residual_transform"])
        self.following = Follower(**self.config["residual_following"])
        follow.begin(self.following, start)
        self.networks = nn.ModuleDict(
            {
                "residual_encoder": self.encoder,
                "residual_transform": self.transform,
                "residual_following": self.following,
            }
        )

    def heads(self) -> list[nn.Parameter]:
        return []

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self._pass(base, inversion, edit).picture

    def _pass(self, base: Base, inversion: Inversion, edit: Edit, *, bent: bool = False) -> Pass:
        """The refiner's render for a batch. bent: see `Follower`."""
        residual = self.encoder(inversion.encoder_features, inversion.generator_features)
        followed = refine.follow(self.following, inversion, edit, bent=bent)
        partial = followed.partial
        change, gate = self.transform(partial.features, followed.following.carried(residual))
        picture = base.generator.finish(partial, edit.styles, features=Injection(change, gate))
        share = (gate * change).float().abs().mean() / partial.features.float().abs().mean()
        return Pass(picture, followed, share)

    def loss(self, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
        return follow.halves(self._pair_loss, self._edit_loss, base, batch, rng)

    def _pair_loss(self, base: Base, photos: Tensor, persons: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        before, after = bent_pairs(photos, persons, rng)
        with low_precision(base.device):
            first, second = base.invert(before), base.invert(after)
            made = self._pass(base, first, base.edit(first, second.codes), bent=True)
            _, truth = base.critic(after)
            score, features = base.critic(made.picture)
        values = {
            "pixels": losses.multiscale_l1(made.picture, after),
            "matching": losses.feature_distance(features, truth),
            "residual": made.share,
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.residual_weight * values["residual"]
            + plan.adversarial_weight * losses.generator_loss(score)
        )
        return Loss(total, values, made.picture)

    def _edit_loss(self, base: Base, photos: Tensor, persons: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        with low_precision(base.device):
            inversion, mirrored = base.invert(photos), base.invert(photos.flip(3))
            edit = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))
            made = self._pass(base, inversion, edit)
            score, _ = base.critic(made.picture)
            # Shaken a little, both alike, so that no pattern of single pixels can answer for a face.
            pictures = torch.cat((resize(made.picture.float().clamp(-1, 1), photos.shape[-1]), photos), 1)
            shaken, truth = augment.move(pictures, rng, 0.01, 0.02, 0.02).chunk(2, 1)
            read = invert(base.generator, base.encoder, shaken)
            back = Edit.of(base.generator, read.codes, Latents(read.codes - (edit.edited - edit.codes)))
            returned = self._pass(base, read, back).picture
            _, wanted = base.critic(truth)
            _, features = base.critic(returned)
        following = made.followed.following
        alone = follow.stays(persons, following.way)
        values = {
            "cycle": losses.feature_distance(features, wanted),
            "movement": follow.movement_loss(made.followed),
            "stillness": follow.stillness_loss(following.stay, alone),
            "missed": refiner.code_distance(edit, read.codes) + refiner.step_distance(edit, read.codes),
            "response": follow.response_loss(inversion, edit, made.picture, alone),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.cycle_weight * values["cycle"]
            + plan.movement_weight * values["movement"]
            + plan.stillness_weight * values["stillness"]
            + plan.missed_weight * values["missed"]
            + plan.response_weight * values["response"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made.picture)


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size, and
    begins with movement and stillness of the hfgi stage where that has run.

    Raises FileNotFoundError where there is no generator.
    """
    follow.train(pack, run, plan, device, StyleResLearner)
