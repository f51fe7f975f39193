"""ReGANIE's rectifying network (Li et al. 2023, arXiv 2301.13402, "Phase II"): a picture encoder E_p, a distortion
encoder E_d, and a generator G_p from low-resolution features up whose convolutions are modulated by a spatial and a
global code in turn, conv(f * code) + b.

There is no public code. What the paper leaves open or does at another size, and what is done here:

- Sizes. From 512 px the paper halves four times, to 32 px; we halve twice, from 128 to the same 32 px.
- The spatial code has the lowest resolution in the paper and how it reaches the layers above is not told. Here E_d
  gives one for each resolution: few channels cannot bring fine detail through 32 px.
- Codes are deviations from a neutral modulation that each layer learns, and E_d has no biases: no distortion, no
  deviation. So a code can be faded, or left out to see what it is worth.
- No demodulation, as in the formula above, and no normalisation: what is far off is to stay far off.
- The result is added to the coarse picture. Painting the face anew takes the paper 800,000 pictures.
- Not in the paper: the spatial code is carried along with the face, and faded, by the movement between the unedited
  and the edited coarse picture (`networks.hfgi.FaceMovement`). The paper's network finds by itself what went where.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.hfgi import FaceMovement, carry

DEVIATION = 0.15
"""Of a distortion map, about: codes have unit size."""


@dataclass(frozen=True, eq=False)
class Codes:
    """What E_d makes of a distortion map; zeros say nothing.

    full, half, quarter  the spatial code, N x C x S x S, N x C' x S/2 x S/2, N x C'' x S/4 x S/4
    vector               the global code, N x D
    """

    full: Tensor
    half: Tensor
    quarter: Tensor
    vector: Tensor

    def carried(self, way: Tensor, fit: Tensor) -> Codes:
        """The spatial code moved `way` (N x 2 x s x s, in sides) and faded by `fit` (N x 1 x s x s in 0..1)."""
        full, half, quarter = (
            carry(code, way) * _scaled(fit, code.shape[-1]) for code in (self.full, self.half, self.quarter)
        )
        return Codes(full, half, quarter, self.vector)


class DistortionEncoder(nn.Module):
    """E_d. widths: channels at full, half and quarter size; dim: of the global code."""

    def __init__(self, widths: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        full, half, quarter = widths
        self.input_layer = nn.Conv2d(3, full, 3, 1, 1, bias=False)
        self.down = nn.ModuleList(
            [nn.Conv2d(full, half, 3, 2, 1, bias=False), nn.Conv2d(half, quarter, 3, 2, 1, bias=False)]
        )
        self.spatial = nn.ModuleList(
            [
                nn.Conv2d(full + 3, full, 3, 1, 1, bias=False),
                nn.Conv2d(half, half, 3, 1, 1, bias=False),
                nn.Conv2d(quarter, quarter, 3, 1, 1, bias=False),
            ]
        )
        self.wide = nn.Sequential(
            nn.Conv2d(quarter, quarter, 3, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(quarter, dim, 3, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
        )
        self.vector = nn.Linear(dim, dim, bias=False)

    def forward(self, distortion: Tensor) -> Codes:
        """Distortion map N x 3 x S x S; S is a multiple of 4."""
        distortion = distortion / DEVIATION
        full = _active(self.input_layer(distortion))
        half = _active(self.down[0](full))
        quarter = _active(self.down[1](half))
        vector = self.vector(self.wide(quarter).mean((2, 3)))
        full = self.spatial[0](torch.cat((distortion, full), 1))
        return Codes(full, self.spatial[1](half), self.spatial[2](quarter), vector)


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

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(dim, channels)
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)
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
        self.overall = GlobalLayer(out_channels, dim)

    def forward(self, x: Tensor, spatial: Tensor, vector: Tensor) -> Tensor:
        if self.up is not None:
            x = _scaled(_active(self.up(x)), spatial.shape[-1])
        return _active(self.overall(_active(self.spatial(x, spatial)), vector))


class Rectifier(nn.Module):
    """E_p, E_d, G_p, and the movement that carries the spatial code.

    widths: channels at full, half and quarter size; dim: of the global code; movement_width, finest, coarsest: see
    `FaceMovement`.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (24, 64, 96),
        dim: int = 256,
        movement_width: int = 24,
        finest: int = 64,
        coarsest: int = 16,
    ) -> None:
        super().__init__()
        full, half, quarter = widths
        self.movement = FaceMovement(movement_width, coarsest, finest)
        self.distortion = DistortionEncoder(widths, dim)
        self.picture = PictureEncoder(widths)
        self.blocks = nn.ModuleList(
            [
                RectifyingBlock(quarter, quarter, dim, up=False),
                RectifyingBlock(quarter, half, dim, up=True),
                RectifyingBlock(half, full, dim, up=True),
            ]
        )
        self.to_rgb = SpatialLayer(full, 3)

    def forward(self, picture: Tensor, codes: Codes) -> Tensor:
        """Coarse edit N x 3 x S x S in [-1, 1] -> what it lacks, N x 3 x S x S."""
        x = self.picture(picture)
        for block, code in zip(self.blocks, (codes.quarter, codes.half, codes.full), strict=True):
            x = block(x, code, codes.vector)
        correction: Tensor = self.to_rgb(x, codes.full)
        return correction


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _scaled(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
