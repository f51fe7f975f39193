"""The orthonormal Haar transform of pictures and feature maps (Haar 1910; Mallat 1989), exact both ways.

Taps in one dimension are [1, 1] / sqrt 2 (low) and [-1, 1] / sqrt 2 (high); a band's two letters say which were used
across and down. The transform is an isometry: squared differences of pictures are the sums of those of their bands.
"""

from __future__ import annotations

import torch
from torch import Tensor


def haar(picture: Tensor) -> tuple[Tensor, Tensor]:
    """N x C x H x W, H and W even -> LL, N x C x H/2 x W/2, and the high bands LH, HL and HH one after the other, each
    of C channels, N x 3C x H/2 x W/2."""
    left, right = picture[..., ::2], picture[..., 1::2]
    across = (left + right, right - left)
    low, hl = ((half[..., ::2, :] + half[..., 1::2, :]) / 2 for half in across)
    lh, hh = ((half[..., 1::2, :] - half[..., ::2, :]) / 2 for half in across)
    return low, torch.cat((lh, hl, hh), 1)


def inverse_haar(low: Tensor, high: Tensor) -> Tensor:
    """What `haar` gave -> the picture N x C x H x W."""
    lh, hl, hh = high.chunk(3, 1)
    tops, bottoms = ((low - lh) / 2, (hl - hh) / 2), ((low + lh) / 2, (hl + hh) / 2)
    rows = [torch.stack((even - odd, even + odd), -1).flatten(-2) for even, odd in (tops, bottoms)]
    return torch.stack(rows, -2).flatten(-3, -2)


def high_bands(picture: Tensor, levels: int) -> list[Tensor]:
    """The high bands of a picture, then of its LL, and so on, finest first: N x 3C x H/2^k x W/2^k each."""
    bands: list[Tensor] = []
    for _ in range(levels):
        picture, high = haar(picture)
        bands.append(high)
    return bands
