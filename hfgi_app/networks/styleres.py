"""The two trained networks of StyleRes (Pehlivan et al. 2023, section 3.2): E1 finds what the codes lost of a photo as
features, once; E2 fits these residual features to the edited features they are added to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualLayer(nn.Module):
    """Two 3 x 3 convolutions, the second with the stride, a leaky ReLU between; added to the shortcut. No norm."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Module = nn.Identity()
        if in_channels != out_channels or stride > 1:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False))
        self.res_layer = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.res_layer(x) + self.shortcut_layer(x[:, :, :: self.stride, :: self.stride])
        return total


class ResidualEncoder(nn.Module):
    """E1: the encoder's and the unedited generator's features at the hook -> residual features.

    A U-net with two halvings and added skips lines the two up, then residual layers extract.
    encoder_features, features: channels of the encoder's and of the generator's map; width: channels inside and of the
    result, `features` as published. The map's side is a multiple of 4.
    """

    def __init__(self, encoder_features: int, features: int, width: int | None = None) -> None:
        super().__init__()
        width = width or features
        self.input_layer = nn.Conv2d(encoder_features + features, width, 1)
        self.down = nn.ModuleList([_stack(width, 1), _stack(width, 2, stride=2), _stack(width, 2, stride=2)])
        self.up = nn.ModuleList([_stack(width, 2), _stack(width, 2)])
        self.aligned = nn.Conv2d(width, width, 1)
        self.extraction = nn.Sequential(nn.Conv2d(width, width, 1), _stack(width, 3))

    def forward(self, encoder_features: Tensor, features: Tensor) -> Tensor:
        """Both N x C x hook x hook, each with its own C -> N x width x hook x hook."""
        x: Tensor = self.input_layer(torch.cat((encoder_features, features), 1))
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            skip = skips.pop()
            x = up(F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True) + skip)
        extracted: Tensor = self.extraction(self.aligned(x))
        return extracted


class ResidualTransform(nn.Module):
    """E2: edited features and residual features -> the change to add, and a gate in 0..1 that says where.

    features, residual: channels of the two maps; width: channels inside, `features` as published.
    """

    def __init__(self, features: int, residual: int | None = None, width: int | None = None) -> None:
        super().__init__()
        width = width or features
        self.reduce_features = nn.Conv2d(features, width // 2, 3, 1, 1)
        self.reduce_residual = nn.Conv2d(residual or features, width - width // 2, 3, 1, 1)
        self.change = nn.Sequential(
            ResidualLayer(width, width), ResidualLayer(width, width), ResidualLayer(width, features)
        )
        self.gate = nn.Sequential(ResidualLayer(width, width), ResidualLayer(width, width), ResidualLayer(width, 1))

    def forward(self, features: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """N x C x hook x hook and N x C' x hook x hook -> change N x C x hook x hook, gate N x 1 x hook x hook."""
        both = torch.cat((self.reduce_features(features), self.reduce_residual(residual)), 1)
        return self.change(both), self.gate(both).sigmoid()


@dataclass(frozen=True)
class Injection:
    """What E2 gave as a map of features: F + gate * change."""

    change: Tensor
    gate: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return features + self.gate * self.change


def _stack(width: int, layers: int, stride: int = 1) -> nn.Sequential:
    rest = (ResidualLayer(width, width) for _ in range(layers - 1))
    return nn.Sequential(ResidualLayer(width, width, stride), *rest)
