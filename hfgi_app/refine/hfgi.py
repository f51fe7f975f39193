"""HFGI (Wang et al. 2022): distortion consultation with adaptive distortion alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.hfgi import Consultation, ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class HFGIDetail:
    """The photo's distortion map 1 x 3 x S x S; it is aligned to every edit anew."""

    distortion: Tensor
    nbytes: int = 0  # the inversion holds the map as well


class HFGI:
    """Per edit: ADA moves the distortion map, the consultation encoder turns it into a scale and shift at the hook."""

    method = Method("hfgi", "HFGI", "Wang et al., High-Fidelity GAN Inversion for Image Attribute Editing, CVPR 2022")
    networks: tuple[str, ...] = ("alignment", "consultation")

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        with torch.device("meta"):
            self.alignment = DistortionAlignment(**config["alignment"])
            self.consultation = ConsultationEncoder(**config["consultation"])
        for name, module in (("alignment", self.alignment), ("consultation", self.consultation)):
            load_strict(module, part(tensors, name), f"the HFGI {name} weights")
            module.to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> HFGIDetail:
        return HFGIDetail(inversion.distortion)

    def render(self, detail: HFGIDetail, edit: Edit) -> Tensor:
        edited = resize(edit.coarse.clamp(-1, 1), detail.distortion.shape[-1])
        scale, shift = self.consultation(self.alignment(detail.distortion, edited))
        return self.generator.finish(edit.partial, edit.styles, features=Consultation(scale, shift))
