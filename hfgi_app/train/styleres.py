"""Stage `styleres`: E1 and E2 on a frozen generator and encoder (Pehlivan et al. 2023, section 3.3).

As published, half of a batch is not edited and must come back as the photo. The other half takes a random step in
latent space: the render must look real, and once it is encoded again and the step taken back it must give the photo, so
that the edit is there to be seen and nothing of the photo is lost in it. The paper compares by pixels, VGG and an
identity network; here the discriminator's features stand in for the networks.

Three things differ, for a small model in few steps. A step leads towards another photo's codes or the mirror image's,
not to a drawn w. Of half of the photos that are not edited the codes are those of the same photo bent or moved, which
must be the render: so E2 learns to move detail. And an edit must be read in the render: by the encoder, as the edited
codes, and in the face, which must change as the coarse picture does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualTransform
from hfgi_app.refine.base import Edit
from hfgi_app.train import augment, data, losses, refiner
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
    missed_weight: float = 0.5
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
        change, gate = self.transform(edit.partial.features, residual)
        return base.generator.finish(edit.partial, edit.styles, features=Injection(change, gate))

    def _read(self, base: Base, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Residual features and codes; gradients pass through to the photos where they need them."""
        codes, encoder_features = base.encoder(photos)
        codes = codes.float()
        partial = base.generator.begin(base.generator.styles(Latents(codes)))
        return self.encoder(encoder_features, partial.features), codes

    def _inject(self, base: Base, residual: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The picture at these codes, and how large what E2 adds is beside the features it is added to."""
        styles = base.generator.styles(Latents(codes))
        partial = base.generator.begin(styles)
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
            codes = base.encoder(after)[0].float()
            picture, share = self._inject(base, self._read(base, before)[0], codes)
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
            edit = base.edit(inversion, refiner.random_steps(base, inversion, mirrored, rng))
            picture = self.render(base, inversion, edit)
            score, _ = base.critic(picture)
            # Shaken a little, both alike, so that no pattern of single pixels can answer for a face.
            pictures = torch.cat((resize(picture.float().clamp(-1, 1), photos.shape[-1]), photos), 1)
            shaken, truth = augment.move(pictures, rng, 0.01, 0.02, 0.02).chunk(2, 1)
            residual, read = self._read(base, shaken)
            returned, _ = self._inject(base, residual, read - (edit.edited - edit.codes))
            _, wanted = base.critic(truth)
            _, features = base.critic(returned)
        values = {
            "cycle": losses.feature_distance(features, wanted),
            "missed": refiner.code_distance(edit, read) + refiner.step_distance(edit, read),
            "response": response_loss(inversion, edit, picture),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.cycle_weight * values["cycle"]
            + plan.missed_weight * values["missed"]
            + plan.response_weight * values["response"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, picture)


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, StyleResLearner)
