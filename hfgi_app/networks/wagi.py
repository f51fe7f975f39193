"""The networks of WaGI, as this project adapts them to StyleGAN2: the distortion map aligned, and wavelet fusion.

The paper (Kim, Moon and Park 2022) fuses inside a generator that itself makes wavelet coefficients (SWAGAN). Here the
bands are those of StyleGAN2's RGB skip, the sum of its blocks' pictures: the same place in the other's hierarchy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.follow import Follower
from hfgi_app.networks.hfgi import DistortionAlignment
from hfgi_app.networks.ops import EqualConv2d, resized
from hfgi_app.networks.styleres import ResidualLayer
from hfgi_app.networks.wavelets import haar, inverse_haar

Change = tuple[Tensor, Tensor]
"""Scale and shift of one level's high bands, each N x 9 x s x s."""


class WaveletFusion(nn.Module):
    """Aligned distortion map and coarse edit -> scale and shift for the high bands of the picture.

    Level k has the bands whose side is 2^-k of the picture's. Each sees its own coefficients of both pictures, what the
    finer level found, and, added on the way back, what the coarser ones did.
    widths: channels at each level, finest first.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 32, 48, 48, 48)) -> None:
        super().__init__()
        finer = (0, *widths[:-1])
        self.inputs = nn.ModuleList(
            nn.Conv2d(24 + before, width, 3, 1, 1) for before, width in zip(finer, widths, strict=True)
        )
        self.bodies = nn.ModuleList(ResidualLayer(width, width) for width in widths)
        self.laterals = nn.ModuleList(nn.Conv2d(coarser, width, 1) for width, coarser in pairwise(widths))
        self.heads = nn.ModuleList(EqualConv2d(width + 9, 18, 3) for width in widths)

    def forward(self, aligned: Tensor, edited: Tensor) -> list[Change]:
        """Both N x 3 x R x R, R a multiple of 2^levels -> scale and shift of every level, finest first."""
        found: list[Tensor] = []
        detail: list[Tensor] = []
        for layer, body in zip(self.inputs, self.bodies, strict=True):
            # Halved at every level, coefficients keep the size of pixels; shifts grow again below.
            aligned, lost, edited, there = (part / 2 for part in (*haar(aligned), *haar(edited)))
            parts = [aligned, lost, edited, there, *(F.avg_pool2d(finer, 2) for finer in found[-1:])]
            found.append(body(F.leaky_relu(layer(torch.cat(parts, 1)), 0.2)))
            detail.append(lost)
        for level in range(len(found) - 2, -1, -1):
            coarser = self.laterals[level](found[level + 1])
            found[level] = found[level] + F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False)
        heads = (head(torch.cat(both, 1)) for head, *both in zip(self.heads, found, detail, strict=True))
        return [(head[:, :9], head[:, 9:] * 2**level) for level, head in enumerate(heads, 1)]


class WaGI(nn.Module):
    """Distortion map and coarse pictures before and after an edit -> what is done to the RGB skip's high bands.

    The map is aligned as HFGI's is (Wang et al. 2022, section 3.3): carried along with the face, the photo left alone
    where nothing is to change, then corrected by ADA.
    size, hook: side of the generator's picture, and where its `finish` begins. Every resolution from the hook on has
    its finest bands fused; at the hook those below it are too, down to the last level.
    """

    def __init__(
        self,
        size: int,
        hook: int,
        movement: tuple[int, int, int] = (24, 16, 64),
        stillness: tuple[int, int] = (16, 64),
        alignment: tuple[int, int, int, int] = (8, 16, 24, 32),
        fusion: tuple[int, ...] = (24, 32, 48, 48, 48),
    ) -> None:
        super().__init__()
        self.size, self.hook = size, hook
        self.following = Follower(movement, stillness)
        self.alignment = DistortionAlignment(alignment)
        self.fusion = WaveletFusion(fusion)

    def align(self, kept: Tensor, coarse: Tensor) -> Tensor:
        """The map that followed an edit N x 3 x S x S and the coarse edit N x 3 x R x R in [-1, 1] -> the aligned map,
        as large as the first."""
        aligned: Tensor = kept + self.alignment(kept, resized(coarse, kept.shape[-1])).float()
        return aligned

    def forward(self, aligned: Tensor, coarse: Tensor) -> dict[int, Fusion]:
        """Aligned map N x 3 x S x S and coarse edit N x 3 x R x R -> the maps of `Generator.finish(bands=...)`."""
        changes = self.fusion(resized(aligned, coarse.shape[-1]), coarse)
        finer = (self.size // self.hook).bit_length() - 1
        fusions = {self.size >> level: Fusion(changes[level : level + 1]) for level in range(finer)}
        return {**fusions, self.hook: Fusion(changes[finer:])}


@dataclass(frozen=True)
class Fusion:
    """Wavelet fusion at one resolution: high * (1 + scale) + shift, finest level first; the last LL stays."""

    changes: list[Change]

    def __call__(self, skip: Tensor) -> Tensor:
        low, high = haar(skip)
        (scale, shift), coarser = self.changes[0], self.changes[1:]
        if coarser:
            low = Fusion(coarser)(low)
        return inverse_haar(low, high * (1 + scale) + shift)
