"""The trained networks of HFGI (Wang et al. 2022): adaptive distortion alignment and the consultation encoder; and two
of our own before them, which see how an edit moves the face, and where it has nothing to change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.irse import ResidualUnit, stage, stem
from hfgi_app.networks.ops import EqualConv2d, ScaledLeakyReLU


class FaceMovement(nn.Module):
    """Not in the paper: coarse pictures before and after an edit -> the distortion map carried along with the face.

    ADA sees the edited picture alone and has to guess from the map where the face was; a small one learns to copy.
    Both coarse pictures are known, so a pyramid of optical flow finds the movement (as SPyNet, Ranjan & Black 2017),
    one small network serving all levels from `coarsest` pixels up to `finest`; beside it `fit`, how much of the detail
    still belongs where it arrives.
    """

    def __init__(self, width: int = 24, coarsest: int = 16, finest: int = 64) -> None:
        super().__init__()
        self.sizes = tuple(2**level for level in range(coarsest.bit_length() - 1, finest.bit_length()))
        self.layers = nn.Sequential(
            nn.Conv2d(8, width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 2, dilation=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 2, dilation=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 3, 3, 1, 1),
        )

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Both N x 3 x S x S in [-1, 1] -> way N x 2 x s x s, from each point of the edited face to where it was, in
        (x, y) sides of the picture; fit N x 1 x s x s in 0..1; s the finest level."""
        way = before.new_zeros(len(before), 2, self.sizes[0], self.sizes[0], dtype=torch.float32)
        found = way
        for size in self.sizes:
            way = F.interpolate(way, size=(size, size), mode="bilinear", align_corners=False)
            then, now = (F.adaptive_avg_pool2d(picture, size) for picture in (before, after))
            with torch.autocast(before.device.type, enabled=False):  # bfloat16 is too coarse for tenths of a pixel
                found = self.layers(torch.cat((now, carry(then, way), way * size), 1).float())
            way = way + 2 * torch.tanh(found[:, :2] / 2) / size  # at most two pixels a level
        return way, torch.sigmoid(found[:, 2:] + 3)


class Stillness(nn.Module):
    """Not in the paper: the map and both coarse pictures -> where the photo stays as it is, whatever the edit.

    A code that ages a face shifts the light behind it too, and a carried map brings back what the code had lost, not
    what the edit changed by the way.
    """

    def __init__(self, width: int = 16, size: int = 64) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            nn.Conv2d(9, width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 2, dilation=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 4, dilation=4),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 1, 8, dilation=8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 3, 1, 1),
        )

    def forward(self, distortion: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """All N x 3 x S x S -> N x 1 x s x s in 0..1."""
        parts = [F.adaptive_avg_pool2d(part, self.size) for part in (distortion, before, after)]
        with torch.autocast(before.device.type, enabled=False):  # as the movement: small sums of nearly equal pictures
            return torch.sigmoid(self.layers(torch.cat(parts, 1).float()) - 3)


def carry(picture: Tensor, way: Tensor) -> Tensor:
    """A picture N x C x S x S with each point replaced by the one that lies `way` (N x 2 x s x s, in sides) from it."""
    side = picture.shape[-1]
    way = F.interpolate(way.float(), size=(side, side), mode="bilinear", align_corners=False)
    axis = (torch.arange(side, device=picture.device) + 0.5) / side * 2 - 1
    here = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    grid = here + 2 * way.permute(0, 2, 3, 1)
    return F.grid_sample(picture.float(), grid, padding_mode="border", align_corners=False)


def left_alone(stillness: Stillness, carried: Tensor, distortion: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The carried map, and where the photo stays, the map that gives the photo back from the edited picture."""
    stay = F.interpolate(
        stillness(distortion, before, after), size=carried.shape[-2:], mode="bilinear", align_corners=False
    )
    return carried + stay * (distortion + before - after - carried)


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
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
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
