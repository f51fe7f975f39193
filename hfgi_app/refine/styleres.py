"""StyleRes (Pehlivan et al. 2023): residual features that are fitted to every edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualTransform
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class StyleResDetail:
    """The photo's residual features, 1 x C x hook x hook."""

    residual: Tensor

    @property
    def nbytes(self) -> int:
        return self.residual.nbytes


class StyleRes:
    """Per photo: E1 finds the residual features. Per edit: E2 fits them to the edited features at the hook."""

    method = Method(
        "styleres",
        "StyleRes",
        "Pehlivan et al., StyleRes: Transforming the Residuals for Real Image Editing with StyleGAN, CVPR 2023",
    )
    networks: tuple[str, ...] = ("residual_encoder", "residual_transform")

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        with torch.device("meta"):
            self.encoder = ResidualEncoder(**config["residual_encoder"])
            self.transform = ResidualTransform(**config["residual_transform"])
        for name, module in zip(self.networks, (self.encoder, self.transform), strict=True):
            load_strict(module, part(tensors, name), f"the StyleRes {name} weights")
            channels_last(module).to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> StyleResDetail:
        return StyleResDetail(self.encoder(inversion.encoder_features, inversion.generator_features))

    def render(self, detail: StyleResDetail, edit: Edit) -> Tensor:
        change, gate = self.transform(edit.partial.features, detail.residual)
        return self.generator.finish(edit.partial, edit.styles, features=Injection(change, gate))


class UnfittedStyleRes(StyleRes):
    """Ablation, no method that users see: what E2 adds to the unedited features is added to every edit's."""

    method = Method("styleres-unfitted", "StyleRes without E2", StyleRes.method.paper)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> StyleResDetail:
        residual = super().consult(inversion).residual
        change, gate = self.transform(inversion.generator_features, residual)
        return StyleResDetail(gate * change)

    def render(self, detail: StyleResDetail, edit: Edit) -> Tensor:
        return self.generator.finish(edit.partial, edit.styles, features=lambda features: features + detail.residual)
