"""HFGI (Wang et al. 2022): distortion consultation with adaptive distortion alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.hfgi import (
    Consultation,
    ConsultationEncoder,
    DistortionAlignment,
    FaceMovement,
    Stillness,
    carry,
    left_alone,
)
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class HFGIDetail:
    """The photo's distortion map and its coarse picture, 1 x 3 x S x S; the map is aligned to every edit anew."""

    distortion: Tensor
    before: Tensor

    @property
    def nbytes(self) -> int:
        return self.before.nbytes  # the inversion holds the map as well


class HFGI:
    """Per edit: ADA moves the distortion map, the consultation encoder turns it into a scale and shift at the hook.

    The published networks do exactly that. Weights that bring networks of ours, `movement` and `stillness`, first
    carry the map along with the face and leave the photo alone where nothing is to change; ADA corrects it there.
    """

    method = Method("hfgi", "HFGI", "Wang et al., High-Fidelity GAN Inversion for Image Attribute Editing, CVPR 2022")
    networks: tuple[str, ...] = ("alignment", "consultation")

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        with torch.device("meta"):
            own = "movement" in config
            self.movement = FaceMovement(**config["movement"]) if own else None
            self.stillness = Stillness(**config["stillness"]) if own else None
            self.alignment = DistortionAlignment(**config["alignment"])
            self.consultation = ConsultationEncoder(**config["consultation"])
        modules = {
            "movement": self.movement,
            "stillness": self.stillness,
            "alignment": self.alignment,
            "consultation": self.consultation,
        }
        for name, module in modules.items():
            if module is not None:
                load_strict(module, part(tensors, name), f"the HFGI {name} weights")
                module.to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> HFGIDetail:
        side = inversion.distortion.shape[-1]
        return HFGIDetail(inversion.distortion, resize(inversion.coarse.clamp(-1, 1), side))

    def align(self, detail: HFGIDetail, edit: Edit) -> Tensor:
        """The distortion map where the edit takes it, 1 x 3 x S x S."""
        distortion = detail.distortion
        after = resize(edit.coarse.clamp(-1, 1), distortion.shape[-1])
        if self.movement is None or self.stillness is None:
            aligned: Tensor = self.alignment(distortion, after)
            return aligned
        carried = moved(self.movement, distortion, detail.before, after)[0]
        kept = left_alone(self.stillness, carried, distortion, detail.before, after)
        corrected: Tensor = kept + self.alignment(kept, after)
        return corrected

    def render(self, detail: HFGIDetail, edit: Edit) -> Tensor:
        scale, shift = self.consultation(self.align(detail, edit))
        return self.generator.finish(edit.partial, edit.styles, features=Consultation(scale, shift))


class UnalignedHFGI(HFGI):
    """Ablation, no method that users see: the distortion map stays where it was."""

    method = Method("hfgi-unaligned", "HFGI without alignment", HFGI.method.paper)

    def align(self, detail: HFGIDetail, edit: Edit) -> Tensor:
        return detail.distortion


def moved(movement: FaceMovement, distortion: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distortion map N x 3 x S x S carried along with the face and faded where it no longer belongs, and the
    movement's way and fit."""
    way, fit = movement(before, after)
    return carry(distortion, way) * resize(fit, distortion.shape[-1]), way, fit
