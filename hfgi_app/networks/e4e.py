"""The e4e encoder: picture -> codes in W+ as one base code plus an offset per row (Tov et al. 2021, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.irse import stage, stem
from hfgi_app.networks.ops import EqualLinear

COARSE_ROWS = 3
MIDDLE_ROWS = 7


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of one encoder; the defaults of units and strides are the published IR-SE50.

    channels: of the input, 3 for a picture alone (ReStyle's has a second picture behind it).
    widths: channels of the stem and of the four stages; units, strides: residual units and first stride per stage.
    head_width, base_width: channels inside each head, and inside the first where that differs: it alone gives the
    base code.
    """

    rows: int
    dim: int
    size: int
    widths: tuple[int, int, int, int, int]
    head_width: int
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    strides: tuple[int, int, int, int] = (2, 2, 2, 2)
    base_width: int | None = None
    channels: int = 3


class Head(nn.Module):
    """Feature map N x C x s x s -> code N x D: stride-2 convolutions down to 1 x 1, then a linear layer."""

    def __init__(self, in_channels: int, width: int, dim: int, spatial: int) -> None:
        super().__init__()
        depth = int(math.log2(spatial))
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [nn.Conv2d(in_channels if index == 0 else width, width, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.linear(self.convs(x).flatten(1))
        return code


class E4EEncoder(nn.Module):
    """Picture N x 3 x S x S in [-1, 1] -> codes N x L x D around `latent_avg`, and the hook-sized feature map c1.

    Rows 0-2 read c3, rows 3-6 a pyramid level with c2 added, the others one with c1 added.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.input_layer = stem(config.channels, widths[0])
        self.stages = nn.ModuleList(
            stage(widths[i], widths[i + 1], config.units[i], config.strides[i], gated=True) for i in range(4)
        )
        self.lateral2 = nn.Conv2d(widths[3], widths[4], 1)
        self.lateral1 = nn.Conv2d(widths[2], widths[4], 1)
        c3_size = config.size // math.prod(config.strides)
        sizes = [c3_size * (1 if i < COARSE_ROWS else 2 if i < MIDDLE_ROWS else 4) for i in range(config.rows)]
        inner = [config.base_width or config.head_width, *[config.head_width] * (config.rows - 1)]
        self.heads = nn.ModuleList(
            Head(widths[4], width, config.dim, size) for width, size in zip(inner, sizes, strict=True)
        )
        self.latent_avg: Tensor
        self.register_buffer("latent_avg", torch.zeros(config.rows, config.dim))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        c1, c2, c3 = self._features(picture)
        p2 = _enlarge(c3, c2) + self.lateral2(c2)
        p1 = _enlarge(p2, c1) + self.lateral1(c1)
        codes = [head(c3 if i < COARSE_ROWS else p2 if i < MIDDLE_ROWS else p1) for i, head in enumerate(self.heads)]
        base = codes[0]
        rows = torch.stack([base, *(base + offset for offset in codes[1:])], 1)
        return rows + self.latent_avg, c1

    def _features(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stages[0](self.input_layer(picture))
        c1 = self.stages[1](x)
        c2 = self.stages[2](c1)
        return c1, c2, self.stages[3](c2)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
