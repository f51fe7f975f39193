"""ReGANIE (Li et al. 2023): a rectifying network repaints the coarse edit with what the photo's inversion lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.reganie import Rectifier
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.refine.base import Edit, Progress, follow
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class ReGANIEDetail:
    """The photo's inversion, and its distortion map's global code 1 x D."""

    inversion: Inversion
    overall: Tensor

    @property
    def nbytes(self) -> int:
        return self.overall.nbytes


class ReGANIE:
    """Per photo: E_d gives the distortion map's global code. Per edit: the map follows, E_d gives its spatial code, and
    both guide E_p and G_p over the coarse edit."""

    method = Method(
        "reganie",
        "ReGANIE",
        "Li et al., ReGANIE: Rectifying GAN Inversion Errors for Accurate Real Image Editing, AAAI 2023 "
        "(re-implementation, own weights)",
    )
    networks: tuple[str, ...] = ("rectifier",)

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        with torch.device("meta"):
            self.rectifier = Rectifier(**config["rectifier"])
        load_strict(self.rectifier, part(tensors, "rectifier"), "the ReGANIE weights")
        channels_last(self.rectifier).to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> ReGANIEDetail:
        return ReGANIEDetail(inversion, self.rectifier.distortion.overall(inversion.distortion))

    def render(self, detail: ReGANIEDetail, edit: Edit) -> Tensor:
        followed = follow(self.rectifier.following, detail.inversion, edit)
        distortion, coarse = followed.following.distortion, followed.coarse
        after = resize(coarse, distortion.shape[-1])
        lacking: Tensor = self.rectifier(after, self._spatial(distortion), detail.overall)
        return coarse + resize(lacking, coarse.shape[-1])

    def _spatial(self, distortion: Tensor) -> Tensor:
        spatial: Tensor = self.rectifier.distortion.spatial(distortion)
        return spatial


class GlobalReGANIE(ReGANIE):
    """Ablation, no method that users see: the spatial code left out."""

    method = Method("reganie-global", "ReGANIE, global code only", ReGANIE.method.paper)

    def _spatial(self, distortion: Tensor) -> Tensor:
        return torch.zeros_like(super()._spatial(distortion))


class SpatialReGANIE(ReGANIE):
    """Ablation, no method that users see: the global code left out."""

    method = Method("reganie-spatial", "ReGANIE, spatial code only", ReGANIE.method.paper)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> ReGANIEDetail:
        detail = super().consult(inversion)
        return replace(detail, overall=torch.zeros_like(detail.overall))
