"""ReGANIE (Li et al. 2023): a rectifying network repaints the coarse edit with what the photo's inversion lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.reganie import Codes, Rectifier
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class ReGANIEDetail:
    """The codes of the photo's distortion map, and its coarse picture 1 x 3 x S x S in [-1, 1]."""

    codes: Codes
    before: Tensor

    @property
    def nbytes(self) -> int:
        codes = self.codes
        return sum(tensor.nbytes for tensor in (codes.full, codes.half, codes.quarter, codes.vector, self.before))


class ReGANIE:
    """Per photo: E_d encodes the distortion map. Per edit: its codes guide E_p and G_p over the coarse edit."""

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
        before = resize(inversion.coarse.clamp(-1, 1), inversion.distortion.shape[-1])
        return ReGANIEDetail(self.rectifier.distortion(inversion.distortion), before)

    def render(self, detail: ReGANIEDetail, edit: Edit) -> Tensor:
        return rectified(self.rectifier, detail.codes, detail.before, edit.coarse)


class GlobalReGANIE(ReGANIE):
    """Ablation, no method that users see: the spatial code left out."""

    method = Method("reganie-global", "ReGANIE, global code only", ReGANIE.method.paper)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> ReGANIEDetail:
        return _without(super().consult(inversion), "full", "half", "quarter")


class SpatialReGANIE(ReGANIE):
    """Ablation, no method that users see: the global code left out."""

    method = Method("reganie-spatial", "ReGANIE, spatial code only", ReGANIE.method.paper)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> ReGANIEDetail:
        return _without(super().consult(inversion), "vector")


def _without(detail: ReGANIEDetail, *names: str) -> ReGANIEDetail:
    nothing = {name: torch.zeros_like(getattr(detail.codes, name)) for name in names}
    return replace(detail, codes=replace(detail.codes, **nothing))


def rectified(rectifier: Rectifier, codes: Codes, before: Tensor, coarse: Tensor) -> Tensor:
    """The coarse edit N x 3 x R x R with what it lacks; before: the unedited one N x 3 x S x S in [-1, 1]."""
    coarse = coarse.clamp(-1, 1)  # as the distortion map saw it
    after = resize(coarse, before.shape[-1])
    way, fit = rectifier.movement(before, after)
    return coarse + resize(rectifier(after, codes.carried(way, fit)), coarse.shape[-1])
