"""The trained networks of HFGI (Wang et al. 2022): adaptive distortion alignment and the consultation encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hfgi_app.networks.irse import ResidualUnit, stage, stem
from hfgi_app.networks.ops import EqualConv2d, ScaledLeakyReLU, resized


class DistortionAlignment(nn.Module):
    """ADA (section 3.3): distortion map and edited picture -> the map moved to where the edit took the face.

    A U-net of residual units with three halvings. widths: channels at full size and after each halving,
    (16, 32, 48, 64) as published.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        full, half, quarter, eighth = widths
        self.input_layer = stem(6, full)
        self.down = nn.ModuleList([stage(full, half, 3, 2), stage(half, quarter, 3, 2), stage(quarter, eighth, 3, 2)])
        self.up = nn.ModuleList(
            [
                _decoder(eighth + quarter, (eighth, half, half)),
                _decoder(half + half, (half, full, full)),
                _decoder(full + full, (full, 3, 3)),
            ]
        )

    def forward(self, distortion: Tensor, edited: Tensor) -> Tensor:
        """Both N x 3 x S x S -> aligned map N x 3 x S x S, unbounded. S is a multiple of 8."""
        skips: list[Tensor] = [self.input_layer(torch.cat((distortion, edited), 1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up:
            skip = skips.pop()
            x = resized(x, skip.shape[-1])
            x = up(torch.cat((x, skip), 1))
        return x


class ConsultationEncoder(nn.Module):
    """Aligned distortion map -> scale and shift for the generator's features at the hook (section 3.2).

    widths: channels at full size and in the two stages, (32, 48, 64) as published; features: the generator's channels.
    strides: (2, 2) brings a map of 4 times the hook's size to the hook, (2, 1) one of twice its size.
    """

    def __init__(
        self,
        features: int,
        widths: tuple[int, int, int] = (32, 48, 64),
        head_width: int | None = None,
        strides: tuple[int, int] = (2, 2),
    ) -> None:
        super().__init__()
        head_width = head_width or features
        self.input_layer = stem(3, widths[0])
        self.stages = nn.Sequential(
            stage(widths[0], widths[1], 3, strides[0]), stage(widths[1], widths[2], 3, strides[1])
        )
        self.scale = _head(widths[2], head_width, features)
        self.shift = _head(widths[2], head_width, features)

    def forward(self, aligned: Tensor) -> tuple[Tensor, Tensor]:
        """N x 3 x S x S -> scale and shift, each N x features x hook x hook."""
        x = self.stages(self.input_layer(aligned))
        return self.scale(x), self.shift(x)


@dataclass(frozen=True)
class Consultation:
    """scale and shift as a map of features: F * (1 + scale) + shift, the released code's residual gate."""

    scale: Tensor
    shift: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return features * (1 + self.scale) + self.shift


def _decoder(in_channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    first, second, third = widths
    return nn.Sequential(
        ResidualUnit(in_channels, first, 1), ResidualUnit(first, second, 1), ResidualUnit(second, third, 1)
    )


def _head(in_channels: int, width: int, features: int) -> nn.Sequential:
    return nn.Sequential(EqualConv2d(in_channels, width, 3), ScaledLeakyReLU(), EqualConv2d(width, features, 3))
