"""WaGI (Kim et al. 2022), adapted: the lost detail goes into the high wavelet bands of the generator's RGB skip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.networks.wagi import WaGI as Networks
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class WaGIDetail:
    """The photo's distortion map and its coarse picture, 1 x 3 x S x S; the map is aligned to every edit anew."""

    distortion: Tensor
    before: Tensor

    @property
    def nbytes(self) -> int:
        return self.before.nbytes  # the inversion holds the map as well


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

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> WaGIDetail:
        side = inversion.distortion.shape[-1]
        return WaGIDetail(inversion.distortion, resize(inversion.coarse.clamp(-1, 1), side))

    def render(self, detail: WaGIDetail, edit: Edit) -> Tensor:
        edited = edit.coarse.clamp(-1, 1)
        after = resize(edited, detail.before.shape[-1])
        aligned = self.wagi.align(detail.distortion, detail.before, after)[0]
        bands = self.wagi(resize(aligned, edited.shape[-1]), edited)
        return self.generator.finish(edit.partial, edit.styles, bands=bands)
