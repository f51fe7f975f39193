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

from hfgi_app.networks.wagi import WaGI
from hfgi_app.networks.wavelets import high_bands
from hfgi_app.refine import base as refine
from hfgi_app.refine.base import Edit
from hfgi_app.train import data, follow, hfgi, losses
from hfgi_app.train.hfgi import Pass
from hfgi_app.train.loop import State
from hfgi_app.train.refiner import Base
from hfgi_app.types import Inversion
from hfgi_app.weights import part


@dataclass(frozen=True)
class Plan(hfgi.Plan):
    """Sizes and weights of this stage.

    wavelet_weight: so that the gradients of wavelet and pixel loss by the picture are of one length (measured on
        coarse pictures, where the pixel loss's is 3.4 times as long).
    """

    pictures: int = 10_000
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
                **follow.config(plan),
                "alignment": plan.alignment_widths,
                "fusion": plan.fusion_widths,
            }
        }
        self.wagi = WaGI(**self.config["wavelet_fusion"])
        follow.begin(self.wagi.following, start)
        hfgi.correct_nothing(self.wagi.alignment)
        with torch.no_grad():
            for head in self.wagi.fusion.heads:
                head.get_parameter("weight").mul_(0.1)
        if start is not None:
            self.wagi.alignment.load_state_dict(part(start["average"], "alignment"))
        self.networks = nn.ModuleDict({"wavelet_fusion": self.wagi})

    def heads(self) -> list[nn.Parameter]:
        return list(self.wagi.fusion.heads.parameters())

    def follow(self, base: Base, inversion: Inversion, edit: Edit, *, bent: bool = False) -> Pass:
        """The refiner's render for a batch, with what happened on the way. bent: see `Follower`."""
        followed = refine.follow(self.wagi.following, inversion, edit, bent=bent)
        aligned = self.wagi.align(followed.following.distortion, followed.coarse)
        bands = self.wagi(aligned, followed.coarse)
        return Pass(base.generator.finish(followed.partial, edit.styles, bands=bands), aligned, followed)

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
    follow.train(pack, run, plan, device, WaGILearner)
