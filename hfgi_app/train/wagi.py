"""Stage `wagi`: alignment and wavelet fusion on a frozen generator and encoder.

Of a pixel loss nearly all the gradient comes from the low band (Kim et al. 2022, section 1), so the high bands of what
is made are compared with the photo's as well. The photos, pairs and edits are those of stage `hfgi`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.wagi import WaGI
from hfgi_app.networks.wavelets import high_bands
from hfgi_app.refine.base import Edit
from hfgi_app.train import data, losses, refiner
from hfgi_app.train.hfgi import bent_pairs, movement_loss, response_loss
from hfgi_app.train.loop import State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights of this stage.

    wavelet_weight: with it the gradient of the wavelet loss by the picture is as large as that of the pixel loss.
    """

    movement_width: int = 24
    alignment_widths: tuple[int, int, int, int] = (8, 16, 24, 32)
    fusion_widths: tuple[int, ...] = (24, 32, 48, 48)
    wavelet_weight: float = 4.0
    matching_weight: float = 1.0
    movement_weight: float = 3.0
    alignment_weight: float = 3.0
    response_weight: float = 4.0
    adversarial_weight: float = 0.02


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the method: the picture, the aligned map, the map that was only carried along, and the loss of the
    movement."""

    picture: Tensor
    aligned: Tensor
    carried: Tensor
    movement: Tensor


class WaGILearner:
    """The method's networks in training."""

    name = "wagi"

    def __init__(self, plan: Plan, base: Base) -> None:
        self.plan = plan
        self.config: State = {
            "wavelet_fusion": {
                "size": base.generator_config.size,
                "hook": base.generator_config.hook,
                "movement": (plan.movement_width, min(16, plan.size), min(64, plan.size)),
                "alignment": plan.alignment_widths,
                "fusion": plan.fusion_widths,
            }
        }
        self.wagi = WaGI(**self.config["wavelet_fusion"])
        with torch.no_grad():
            for name in ("weight", "bias"):
                self.wagi.movement.layers[-1].get_parameter(name).zero_()  # no movement to begin with
            for norm in ("1.res_layer.4", "1.shortcut_layer.1", "2.res_layer.4"):
                self.wagi.alignment.up[-1].get_parameter(f"{norm}.weight").zero_()  # nor any correction
            for head in self.wagi.fusion.heads:
                head.get_parameter("weight").mul_(0.1)
        self.networks = nn.ModuleDict({"wavelet_fusion": self.wagi})

    def heads(self) -> list[nn.Parameter]:
        return list(self.wagi.fusion.heads.parameters())

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        return self.follow(base, inversion, edit).picture

    def follow(self, base: Base, inversion: Inversion, edit: Edit) -> Pass:
        """The refiner's render for a batch, with what happened on the way."""
        side, edited = inversion.distortion.shape[-1], edit.coarse.float().clamp(-1, 1)
        before, after = (resize(coarse, side) for coarse in (inversion.coarse.float().clamp(-1, 1), edited))
        aligned, carried, way = self.wagi.align(inversion.distortion, before, after)
        bands = self.wagi(resize(aligned, edited.shape[-1]), edited)
        picture = base.generator.finish(edit.partial, edit.styles, bands=bands)
        return Pass(picture, aligned.float(), carried, movement_loss(before, after, way))

    def loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        half = len(photos) // 2
        pair, edit = self._pair_loss(base, photos[half:], rng), self._edit_loss(base, photos[:half], rng)
        return Loss(pair.total + edit.total, pair.values | edit.values, torch.cat((pair.fakes, edit.fakes)))

    def _pair_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        """Of photos bent or moved the truth is known."""
        plan = self.plan
        before, after = bent_pairs(photos, rng)
        with low_precision(base.device):
            first, second = base.invert(before), base.invert(after)
            made = self.follow(base, first, base.edit(first, second.codes))
            _, truth = base.critic(after)
            score, features = base.critic(made.picture)
        values = {
            "pixels": losses.multiscale_l1(made.picture, after),
            "wavelets": wavelet_loss(made.picture, after),
            "alignment": F.l1_loss(made.aligned, second.distortion) + F.l1_loss(made.carried, second.distortion),
            "matching": losses.feature_distance(features, [level.detach() for level in truth]),
        }
        total = (
            2 * values["pixels"]
            + plan.wavelet_weight * values["wavelets"]
            + plan.matching_weight * values["matching"]
            + plan.alignment_weight * values["alignment"]
            + plan.movement_weight * made.movement
            + plan.adversarial_weight * losses.generator_loss(score)
        )
        return Loss(total, values, made.picture)

    def _edit_loss(self, base: Base, photos: Tensor, rng: torch.Generator) -> Loss:
        """Of edits both coarse pictures are known."""
        plan = self.plan
        with low_precision(base.device):
            inversion, mirrored = base.invert(photos), base.invert(photos.flip(3))
            edit = base.edit(inversion, refiner.random_steps(inversion, mirrored, rng))
            made = self.follow(base, inversion, edit)
            score, _ = base.critic(made.picture)
        values = {
            "movement": made.movement,
            "response": response_loss(inversion, edit, made.picture),
            "kept": F.l1_loss(made.aligned, made.carried.detach()),
            "adversarial": losses.generator_loss(score),
        }
        total = (
            plan.movement_weight * values["movement"]
            + plan.response_weight * values["response"]
            + plan.alignment_weight * values["kept"]
            + 2 * plan.adversarial_weight * values["adversarial"]
        )
        return Loss(total, values, made.picture)


def wavelet_loss(made: Tensor, truth: Tensor, levels: int = 3) -> Tensor:
    """L1 between the high bands of two pictures N x 3 x R x R, every level in the size of pixels and counting alike."""
    bands = zip(high_bands(made.float(), levels), high_bands(truth, levels), strict=True)
    return torch.stack([F.l1_loss(one, other) / 2**level for level, (one, other) in enumerate(bands, 1)]).sum()


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, WaGILearner)
