"""Residual discriminator (StyleGAN2, section 4.1) whose features also serve as a perceptual distance in training."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.ops import SQRT2, EqualConv2d, EqualLinear, scaled_leaky_relu


class DiscriminatorBlock(nn.Module):
    """N x C x H x W -> N x C' x H/2 x W/2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualConv2d(in_channels, in_channels, 3)
        self.down = EqualConv2d(in_channels, out_channels, 3)
        self.skip = EqualConv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = scaled_leaky_relu(self.conv(x))
        y = scaled_leaky_relu(self.down(F.avg_pool2d(y, 2)))
        shortcut: Tensor = self.skip(F.avg_pool2d(x, 2))
        return (y + shortcut) / SQRT2


class Discriminator(nn.Module):
    """Picture N x 3 x R x R -> realness N and the features after each block.

    channels: at 4, 8, ... up to the picture's size, as in GeneratorConfig.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        plan = channels[::-1]
        self.from_rgb = EqualConv2d(3, plan[0], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(a, b) for a, b in pairwise(plan))
        self.conv = EqualConv2d(plan[-1] + 1, plan[-1], 3)
        self.hidden = EqualLinear(plan[-1] * 16, plan[-1])
        self.linear = EqualLinear(plan[-1], 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = scaled_leaky_relu(self.from_rgb(picture))
        features: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        x = torch.cat((x, _deviation(x)), 1)
        x = scaled_leaky_relu(self.conv(x)).flatten(1)
        score: Tensor = self.linear(scaled_leaky_relu(self.hidden(x)))
        return score[:, 0], features


def _deviation(x: Tensor) -> Tensor:
    """Mean deviation over the batch as one more channel, against collapse (ProGAN, section 3)."""
    deviation = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean()
    return deviation.to(x.dtype).expand(x.shape[0], 1, *x.shape[2:])
