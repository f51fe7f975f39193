"""Stage `styleres`: E1 and E2 on a frozen generator and encoder (Pehlivan et al. 2023, section 3.3).

As published, half of a batch is not edited and must come back as the photo. The other half takes a random step in
latent space: the render must look real, and once it is encoded again and the step taken back it must give the photo, so
that the edit is there to be seen and nothing of the photo is lost in it. The paper compares by pixels, VGG and an
identity network; here the discriminator's features stand in for the networks.

Three things differ, for a small model in few steps. A step leads towards another photo's codes or the mirror image's,
not to a drawn w. Of half of the photos that are not edited the codes are those of the same photo bent or moved, which
must be the render: so E2 learns to move detail. And the edited face must change as the coarse picture does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.stylegan2 import Partial, Styles
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualTransform
from hfgi_app.refine.base import Edit
from hfgi_app.train import data, losses, refiner
from hfgi_app.train.hfgi import bent_pairs, response_loss
from hfgi_app.train.loop import State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion, Latents


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights of this stage."""

    pictures: int = 4_000
    width: int = 48
    learning_rate: float = 1e-3
    matching_weight: float = 1.0
    cycle_weight: float = 1.0
    response_weight: float = 4.0
    residual_weight: float = 0.01
    adversarial_weight: float = 0.02


class StyleResLearner:
    """The two networks of the method in training."""

    name = "styleres"

    def __init__(self, plan: Plan, base: Base) -> None:
        self.plan = plan
        self.config: State = {
            "residual_encoder": {
                "encoder_features": base.encoder_config.widths[2],
                "features": base.features,
                "width": plan.width,
            },
            "residual_transform": {"features": base.features, "residual": plan.width, "width": plan.width},
        }
        self.encoder = ResidualEncoder(**self.config["residual_encoder"])
        self.transform = ResidualTransform(**self.config["residual_transform"])
        self.networks = nn.ModuleDict({"residual_encoder": self.encoder, "residual_transform": self.transform})

    def heads(self) -> list[nn.Parameter]:
        return []

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        residual = self.encoder(inversion.encoder_features, inversion.generator_features)
        return self._inject(base, residual, edit.partial, edit.styles)[0]

    def _inject(self, base: Base, residual: Tensor, partial: Partial, styles: Styles) -> tuple[Tensor, Tensor]:
        """The picture, and how large what E2 adds is beside the features it is added to."""
        change, gate = self.transform(partial.features, residual)
        share = (gate * change).float().abs().mean() / partial.features.float().abs().mean()
        return base.generator.finish(partial, styles, features=Injection(change, gate)), share

    def loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        half = len(photos) // 2
        pair, edit = self._pair_loss(base, photos[half:], rng), self._edit_loss(base, photos[:half], rng)
        return Loss(pair.total + edit.total, pair.values | edit.values, torch.cat((pair.fakes, edit.fakes)))

    def _pair_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        before, after = bent_pairs(photos, rng)
        with low_precision(base.device):
            first, second = base.invert(before), base.invert(after)
            edit = base.edit(first, second.codes)
            residual = self.encoder(first.encoder_features, first.generator_features)
            picture, share = self._inject(base, residual, edit.partial, edit.styles)
            _, truth = base.critic(after)
            score, features = base.critic(picture)
        values = {
            "pixels": losses.multiscale_l1(picture, after),
            "matching": losses.feature_distance(features, truth),
            "residual": share,
        }
        total = (
            2 * values["pixels"]
            + plan.matching_weight * values["matching"]
            + plan.residual_weight * values["residual"]
            + plan.adversarial_weight * losses.generator_loss(score)
        )
        return Loss(total, values, picture)

    def _edit_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        plan = self.plan
        with low_precision(base.device):
            inversion, mirrored = base.invert(photos), base.invert(photos.flip(3))
            codes = refiner.random_steps(inversion, mirrored, rng)
            edit = base.edit(inversion, codes)
            picture = self.render(base, inversion, edit)
            returned = self._return(base, picture, codes - inversion.codes)
            score, _ = base.critic(picture)
            _, truth = base.critic(photos)
            _, features = base.critic(returned)
        values = {
            "cycle": losses.feature_distance(features, truth),
            "response": response_loss(inversion, edit, picture),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.cycle_weight * values["cycle"]
            + plan.response_weight * values["response"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, picture)

    def _return(self, base: Base, pictures: Tensor, step: Tensor) -> Tensor:
        """Edited pictures encoded again, the step taken back; gradients pass through all of it."""
        generator = base.generator
        codes, encoder_features = base.encoder(resize(pictures.float().clamp(-1, 1), base.encoder_config.size))
        codes = codes.float()
        features = generator.begin(generator.styles(Latents(codes))).features
        styles = generator.styles(Latents(codes - step))
        return self._inject(base, self.encoder(encoder_features, features), generator.begin(styles), styles)[0]


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, StyleResLearner)
