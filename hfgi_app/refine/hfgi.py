"""HFGI (Wang et al. 2022): distortion consultation with adaptive distortion alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.follow import Follower
from hfgi_app.networks.hfgi import Consultation, ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.stylegan2 import Generator, Partial
from hfgi_app.refine.base import Edit, Opened, Progress, follow
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


class HFGI:
    """Per edit: ADA moves the distortion map, the consultation encoder turns it into a scale and shift at the hook.

    The published networks do exactly that. Weights that bring networks of ours, `following`, first carry the map along
    with the face and leave the photo alone where nothing is to change, map and features; ADA corrects the map there.
    """

    method = Method("hfgi", "HFGI", "Wang et al., High-Fidelity GAN Inversion for Image Attribute Editing, CVPR 2022")
    networks: tuple[str, ...] = ("alignment", "consultation")

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        own = config.get("following")
        with torch.device("meta"):
            self.follower = Follower(**own) if own else None
            self.alignment = DistortionAlignment(**config["alignment"])
            self.consultation = ConsultationEncoder(**config["consultation"])
        modules = {"following": self.follower, "alignment": self.alignment, "consultation": self.consultation}
        for name, module in modules.items():
            if module is not None:
                load_strict(module, part(tensors, name), f"the HFGI {name} weights")
                module.to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> Opened:
        return Opened(inversion)

    def align(self, detail: Opened, edit: Edit) -> Tensor:
        """The distortion map where the edit takes it, 1 x 3 x S x S."""
        return self._follow(detail.inversion, edit)[0]

    def render(self, detail: Opened, edit: Edit) -> Tensor:
        aligned, partial = self._follow(detail.inversion, edit)
        scale, shift = self.consultation(aligned)
        return self.generator.finish(partial, edit.styles, features=Consultation(scale, shift))

    def _follow(self, inversion: Inversion, edit: Edit) -> tuple[Tensor, Partial]:
        """The aligned map, and the generator stopped at its hook."""
        if self.follower is None:
            distortion = inversion.distortion
            after = resize(edit.coarse.clamp(-1, 1), distortion.shape[-1])
            return self.alignment(distortion, after), edit.partial
        followed = follow(self.follower, inversion, edit)
        kept = followed.following.distortion
        return kept + self.alignment(kept, resize(followed.coarse, kept.shape[-1])), followed.partial


class UnalignedHFGI(HFGI):
    """Ablation, no method that users see: the distortion map stays where it was."""

    method = Method("hfgi-unaligned", "HFGI without alignment", HFGI.method.paper)

    def _follow(self, inversion: Inversion, edit: Edit) -> tuple[Tensor, Partial]:
        return inversion.distortion, edit.partial
