"""Stage `wagi`: alignment and wavelet fusion on a frozen generator and encoder.

Photos, pairs, edits and losses are those of stage `hfgi`, with one more. Of a pixel loss nearly all the gradient comes
from the low band (Kim et al. 2022, section 1); so the high bands of what is made and of the photo are compared too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.hfgi import carry
from hfgi_app.networks.wagi import WaGI
from hfgi_app.networks.wavelets import high_bands
from hfgi_app.refine.base import Edit
from hfgi_app.train import data, hfgi, losses, refiner
from hfgi_app.train.hfgi import Pass
from hfgi_app.train.loop import State, load
from hfgi_app.train.refiner import Base
from hfgi_app.types import Inversion
from hfgi_app.weights import part


@dataclass(frozen=True)
class Plan(hfgi.Plan):
    """Sizes and weights of this stage.

    wavelet_weight: so that the gradients of wavelet and pixel loss by the picture are of one length (measured on
        coarse pictures, where the pixel loss's is 3.4 times as long).
    """

    pictures: int = 3_000
    fusion_widths: tuple[int, ...] = (24, 32, 48, 48, 48)
    wavelet_weight: float = 3.4


class WaGILearner(hfgi.HFGILearner):
    """The method's networks in training: HFGI's alignment, with its losses, before wavelet fusion.

    start: a checkpoint of stage `hfgi`, with whose alignment this one begins.
    """

    name = "wagi"

    def __init__(self, plan: Plan, base: Base, start: State | None = None) -> None:
        self.plan, self.wavelet_weight = plan, plan.wavelet_weight
        self.config = {
            "wavelet_fusion": {
                "size": base.generator_config.size,
                "hook": base.generator_config.hook,
                "movement": (plan.movement_width, min(16, plan.size), min(64, plan.size)),
                "stillness": (plan.stillness_width, min(64, plan.size)),
                "alignment": plan.alignment_widths,
                "fusion": plan.fusion_widths,
            }
        }
        self.wagi = WaGI(**self.config["wavelet_fusion"])
        hfgi.rest(self.wagi.movement, self.wagi.stillness, self.wagi.alignment)
        with torch.no_grad():
            for head in self.wagi.fusion.heads:
                head.get_parameter("weight").mul_(0.1)
        if start is not None:
            for network in ("movement", "stillness", "alignment"):
                self.wagi.get_submodule(network).load_state_dict(part(start["average"], network))
        self.networks = nn.ModuleDict({"wavelet_fusion": self.wagi})

    def heads(self) -> list[nn.Parameter]:
        return list(self.wagi.fusion.heads.parameters())

    def follow(self, base: Base, inversion: Inversion, edit: Edit) -> Pass:
        """The refiner's render for a batch, with what happened on the way; the loss of the movement beside it."""
        distortion, edited = inversion.distortion, edit.coarse.float().clamp(-1, 1)
        side = distortion.shape[-1]
        before, after = (resize(coarse, side) for coarse in (inversion.coarse.float().clamp(-1, 1), edited))
        aligned, kept, way, fit = self.wagi.align(distortion, before, after)
        bands = self.wagi(resize(aligned, edited.shape[-1]), edited)
        picture = base.generator.finish(edit.partial, edit.styles, bands=bands)
        carried = carry(distortion, way) * resize(fit, side)
        return Pass(picture, aligned, kept, carried, hfgi.movement_loss(before, after, way))

    def difference(self, made: Tensor, truth: Tensor) -> Tensor:
        return losses.multiscale_l1(made, truth) + self.wavelet_weight * wavelet_loss(made, truth)


def wavelet_loss(made: Tensor, truth: Tensor, levels: int = 3) -> Tensor:
    """L1 between the high bands of two pictures N x 3 x R x R, every level in the size of pixels and counting alike."""
    bands = zip(high_bands(made.float(), levels), high_bands(truth, levels), strict=True)
    return torch.stack([F.l1_loss(one, other) / 2**level for level, (one, other) in enumerate(bands, 1)]).sum()


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size, and
    begins with the alignment of the hfgi stage where that has run.

    Raises FileNotFoundError where there is no generator.
    """
    start = load(run / "hfgi.pt")
    refiner.train(pack, run, plan, device, lambda plan, base: WaGILearner(plan, base, start))
