"""ReGANIE's rectifying network (Li et al. 2023, arXiv 2301.13402, "Phase II"): a picture encoder E_p, a distortion
encoder E_d, and a generator G_p from low-resolution features up whose convolutions are modulated by a spatial and a
global code in turn, conv(f * code) + b.

There is no public code. What the paper leaves open or does at another size, and what is done here:

- Sizes. From 512 px the paper halves four times, to 32 px; E_p halves twice, from 128 to the same 32 px, and E_d takes
  squares of 4 x 4 pixels as channels, so that no detail is lost on the way to as few places.
- How the spatial code reaches layers above 32 px is not told: here by a 1 x 1 convolution for each size and the same
  rearrangement of channels back into pixels.
- What is the same everywhere is the global code's: the spatial code sees the distortion map without its mean. The last
  layer is of both kinds, added up.
- Codes are deviations from a neutral modulation that each layer learns, and E_d has no biases: no distortion, no
  deviation. So a code can be faded, or left out to see what it is worth.
- No demodulation, as in the formula above, and no normalisation: what is far off is to stay far off.
- The result is added to the coarse picture. Painting the face anew takes the paper 800,000 pictures.
- Not in the paper: before its spatial code is taken, the distortion map follows the edit (`networks.follow`). The
  paper's network finds by itself what went where.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.follow import Follower
from hfgi_app.networks.ops import resized

DEVIATION = 0.15
"""Of a distortion map, about: codes have unit size."""
SQUARE = 4
"""Pixels to a side of what one place of the spatial code stands for."""


class DistortionEncoder(nn.Module):
    """E_d. width: channels of the spatial code; dim: of the global code."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.lift = nn.Conv2d(3 * SQUARE**2, width, 1, bias=False)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        )
        self.wide = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, dim, 3, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
        )
        self.linear = nn.Linear(dim, dim, bias=False)

    def spatial(self, distortion: Tensor) -> Tensor:
        """Distortion map N x 3 x S x S, S a multiple of 4 -> spatial code N x width x S/4 x S/4."""
        centred = (distortion - distortion.mean((2, 3), keepdim=True)) / DEVIATION
        code = self.lift(F.pixel_unshuffle(centred, SQUARE))
        refined: Tensor = code + self.body(code)
        return refined

    def overall(self, distortion: Tensor) -> Tensor:
        """Distortion map N x 3 x S x S -> global code N x dim."""
        vector: Tensor = self.linear(self.wide(F.avg_pool2d(distortion, SQUARE) / DEVIATION).mean((2, 3)))
        return vector


class PictureEncoder(nn.Sequential):
    """E_p: coarse edit N x 3 x S x S in [-1, 1] -> features N x widths[2] x S/4 x S/4."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        full, half, quarter = widths
        super().__init__(
            nn.Conv2d(3, full, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(full, half, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(half, quarter, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(quarter, quarter, 3, 1, 1),
            nn.LeakyReLU(0.2),
        )


class SpatialLayer(nn.Module):
    """conv(f * (neutral + code)) + b for a code with a value for each place: N x in x H x W."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.neutral = nn.Parameter(torch.ones(in_channels, 1, 1))
        self.conv = nn.Conv2d(in_channels, out_channels, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        modulated: Tensor = self.conv(x * (self.neutral + code))
        return modulated


class GlobalLayer(nn.Module):
    """conv(f * (1 + A code)) + b for one code for all places: N x D."""

    def __init__(self, in_channels: int, out_channels: int, dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(dim, in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, 1, 1)
        nn.init.ones_(self.affine.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        modulated: Tensor = self.conv(x * self.affine(code)[:, :, None, None])
        return modulated


class RectifyingBlock(nn.Module):
    """A spatial and a global layer; up: to twice the size and to `out_channels` first."""

    def __init__(self, in_channels: int, out_channels: int, dim: int, *, up: bool) -> None:
        super().__init__()
        self.up = nn.Conv2d(in_channels, out_channels, 3, 1, 1) if up else None
        self.spatial = SpatialLayer(out_channels, out_channels)
        self.overall = GlobalLayer(out_channels, out_channels, dim)

    def forward(self, x: Tensor, spatial: Tensor, vector: Tensor) -> Tensor:
        if self.up is not None:
            x = resized(_active(self.up(x)), spatial.shape[-1])
        return _active(self.overall(_active(self.spatial(x, spatial)), vector))


class Rectifier(nn.Module):
    """E_p, E_d, G_p, and what makes the distortion map follow an edit.

    widths: channels at full, half and quarter size; dim: of the global code; movement, stillness: arguments of
    `Follower`.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (24, 64, 96),
        dim: int = 256,
        movement: tuple[int, int, int] = (24, 16, 64),
        stillness: tuple[int, int] = (16, 64),
    ) -> None:
        super().__init__()
        full, half, quarter = widths
        self.following = Follower(movement, stillness)
        self.distortion = DistortionEncoder(quarter, dim)
        self.picture = PictureEncoder(widths)
        self.blocks = nn.ModuleList(
            [
                RectifyingBlock(quarter, quarter, dim, up=False),
                RectifyingBlock(quarter, half, dim, up=True),
                RectifyingBlock(half, full, dim, up=True),
            ]
        )
        self.spread = nn.ModuleList(
            [
                nn.Conv2d(quarter, half * (SQUARE // 2) ** 2, 1, bias=False),
                nn.Conv2d(quarter, full * SQUARE**2, 1, bias=False),
            ]
        )
        self.to_rgb = SpatialLayer(full, 3)
        self.to_tone = GlobalLayer(full, 3, dim)

    def forward(self, picture: Tensor, spatial: Tensor, overall: Tensor) -> Tensor:
        """Coarse edit N x 3 x S x S in [-1, 1], spatial code of the map that followed it, global code of the map as it
        was -> what the picture lacks, N x 3 x S x S."""
        half, full = (F.pixel_shuffle(layer(spatial), r) for layer, r in zip(self.spread, (2, SQUARE), strict=True))
        x = self.picture(picture)
        for block, code in zip(self.blocks, (spatial, half, full), strict=True):
            x = block(x, code, overall)
        correction: Tensor = self.to_rgb(x, full) + self.to_tone(x, overall)
        return correction


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
