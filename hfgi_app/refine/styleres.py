"""StyleRes (Pehlivan et al. 2023): residual features that are fitted to every edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.networks.follow import Follower
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, Partial
from hfgi_app.networks.styleres import Injection, ResidualEncoder, ResidualTransform
from hfgi_app.refine.base import Edit, Progress, follow
from hfgi_app.types import Inversion, Method
from hfgi_app.weights import load_strict, part


@dataclass(frozen=True, eq=False)
class StyleResDetail:
    """The photo's residual features, 1 x C x hook x hook, and its inversion."""

    residual: Tensor
    inversion: Inversion

    @property
    def nbytes(self) -> int:
        return self.residual.nbytes


class StyleRes:
    """Per photo: E1 finds the residual features. Per edit: E2 fits them to the edited features at the hook.

    The published networks do exactly that. Weights that bring networks of ours, `residual_following`, first carry the
    residual features along with the face, and leave the photo alone where nothing is to change: E2 sees a few places
    around each alone and cannot find what has moved further.
    """

    method = Method(
        "styleres",
        "StyleRes",
        "Pehlivan et al., StyleRes: Transforming the Residuals for Real Image Editing with StyleGAN, CVPR 2023",
    )
    networks: tuple[str, ...] = ("residual_encoder", "residual_transform")

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        own = config.get("residual_following")
        with torch.device("meta"):
            self.encoder = ResidualEncoder(**config["residual_encoder"])
            self.transform = ResidualTransform(**config["residual_transform"])
            self.follower = Follower(**own) if own else None
        names = (*self.networks, "residual_following")
        for name, module in zip(names, (self.encoder, self.transform, self.follower), strict=True):
            if module is not None:
                load_strict(module, part(tensors, name), f"the StyleRes {name} weights")
                channels_last(module).to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> StyleResDetail:
        residual = self.encoder(inversion.encoder_features, inversion.generator_features)
        return StyleResDetail(residual, inversion)

    def render(self, detail: StyleResDetail, edit: Edit) -> Tensor:
        partial, residual = self._follow(detail, edit, detail.residual)
        injection = Injection(*self.transform(partial.features, residual))
        return self.generator.finish(partial, edit.styles, features=injection)

    def _follow(self, detail: StyleResDetail, edit: Edit, residual: Tensor) -> tuple[Partial, Tensor]:
        """The generator stopped at its hook, and features of the photo where the edit takes them."""
        if self.follower is None:
            return edit.partial, residual
        followed = follow(self.follower, detail.inversion, edit)
        return followed.partial, followed.following.carried(residual)


class UnfittedStyleRes(StyleRes):
    """Ablation, no method that users see: E2 fits the residual features to the photo, and what it adds there is added
    to every edit, where the edit takes it."""

    method = Method("styleres-unfitted", "StyleRes without E2", StyleRes.method.paper)

    def render(self, detail: StyleResDetail, edit: Edit) -> Tensor:
        change, gate = self.transform(detail.inversion.generator_features, detail.residual)
        partial, added = self._follow(detail, edit, gate * change)
        return self.generator.finish(partial, edit.styles, features=lambda features: features + added)
