"""Improved residual units, with and without a channel gate (ArcFace, Deng et al. 2019; SENet, Hu et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Channel gate from the global mean, reduction 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, max(channels // 16, 1), 1, bias=False)
        self.fc2 = nn.Conv2d(max(channels // 16, 1), channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * gate


class ResidualUnit(nn.Module):
    """BN, conv, PReLU, conv (stride), BN, optional channel gate; added to the shortcut, no activation after."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, gated: bool = False) -> None:
        super().__init__()
        self.stride = stride
        # The shortcut takes every stride-th pixel first: what a strided 1 x 1 convolution does, and PyTorch 2.13's
        # own corrupts memory when it trains in bfloat16 with few channels.
        self.shortcut_layer: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        if gated:
            self.res_layer.append(SqueezeExcitation(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.res_layer(x) + self.shortcut_layer(x[:, :, :: self.stride, :: self.stride])
        return total


def stem(in_channels: int, out_channels: int) -> nn.Sequential:
    """First layer of every encoder here: 3 x 3 convolution, BN, PReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(out_channels), nn.PReLU(out_channels)
    )


def stage(in_channels: int, out_channels: int, units: int, stride: int, *, gated: bool = False) -> nn.Sequential:
    """`units` residual units; the first changes channels and applies the stride."""
    first = ResidualUnit(in_channels, out_channels, stride, gated=gated)
    rest = (ResidualUnit(out_channels, out_channels, 1, gated=gated) for _ in range(units - 1))
    return nn.Sequential(first, *rest)
