"""WaGI (Kim et al. 2022), adapted: the lost detail goes into the high wavelet bands of the generator's RGB skip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.networks.wagi import WaGI as Networks
from hfgi_app.refine.base import Edit, Opened, Progress, follow
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


class WaGI:
    """Per edit: the distortion map is aligned, and its wavelet coefficients say how those of the RGB skip change.

    The paper builds on a generator of wavelets (SWAGAN) with weights that were never published; this is its wavelet
    loss and wavelet fusion on StyleGAN2, with weights of our own.
    """

    method = Method(
        "wagi",
        "WaGI (adapted)",
        "After Kim et al., WaGI: Wavelet-based GAN Inversion for Preserving High-Frequency Image Details, 2022 "
        "(arXiv 2210.09655): its wavelet loss and fusion on StyleGAN2 instead of SWAGAN, own weights",
    )
    networks: tuple[str, ...] = ("wavelet_fusion",)

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        with torch.device("meta"):
            self.wagi = Networks(**config["wavelet_fusion"])
        load_strict(self.wagi, part(tensors, "wavelet_fusion"), "the WaGI weights")
        channels_last(self.wagi).to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> Opened:
        return Opened(inversion)

    def render(self, detail: Opened, edit: Edit) -> Tensor:
        followed = follow(self.wagi.following, detail.inversion, edit)
        aligned, coarse = self.wagi.align(followed.following.distortion, followed.coarse), followed.coarse
        return self.generator.finish(followed.partial, edit.styles, bands=self.wagi(aligned, coarse))
