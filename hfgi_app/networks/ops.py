"""Layers shared by several networks: equalised learning rate, scaled activations, fixed low-pass filters."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = math.sqrt(2.0)
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def channels_last(module: AnyModule) -> AnyModule:
    """Let a module's convolutions run in the memory layout that is fastest for them."""
    laid_out: AnyModule = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 whose output keeps the input's variance (StyleGAN2, appendix B)."""
    return F.leaky_relu(x, 0.2).mul_(SQRT2)


class ScaledLeakyReLU(nn.Module):
    """`scaled_leaky_relu` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_leaky_relu(x)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate (ProGAN, section 4.1): weights are scaled at run time."""

    def __init__(self, in_features: int, out_features: int, *, bias_init: float = 0.0, lr_mul: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.gain = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias * self.lr_mul)


class EqualConv2d(nn.Module):
    """Stride-1 convolution with equalised learning rate; `same` padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)


def _taps(x: Tensor, gain: float) -> Tensor:
    """The binomial filter [1, 3, 3, 1] squared as one depthwise kernel: C x 1 x 4 x 4, summing to `gain`."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    kernel = torch.outer(line, line) * gain
    return kernel.expand(x.shape[1], 1, 4, 4)


def blur(x: Tensor, *, pad: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Low-pass filter with zero padding `pad` on every side."""
    return F.conv2d(x, _taps(x, gain), padding=pad, stride=stride, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """N x C x H x W -> N x C x 2H x 2W, zeros beyond the border: the RGB skip's up-sampling (StyleGAN2, figure 7)."""
    return F.conv_transpose2d(x, _taps(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def resized(x: Tensor, side: int) -> Tensor:
    """N x C x H x W -> N x C x side x side, bilinear, corners not aligned: networks know nothing of `images.resize`."""
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
