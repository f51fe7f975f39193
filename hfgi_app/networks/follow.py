"""Two networks of our own before those of the papers: they see how an edit moves the face, and where it has nothing to
change, so that what the code lost of a photo can follow the edit. Published weights do without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.ops import resized
from hfgi_app.networks.stylegan2 import Partial


class FaceMovement(nn.Module):
    """Coarse pictures before and after an edit -> where the edit moved what.

    HFGI's ADA sees the edited picture alone and has to guess from the map where the face was; a small one learns to
    copy. Both coarse pictures are known, so a pyramid of optical flow finds the movement (as SPyNet, Ranjan & Black
    2017), one small network serving all levels from `coarsest` pixels up to `finest`; beside it `fit`, how much of the
    detail still belongs where it arrives.
    """

    def __init__(self, width: int = 24, coarsest: int = 16, finest: int = 64) -> None:
        super().__init__()
        self.sizes = tuple(2**level for level in range(coarsest.bit_length() - 1, finest.bit_length()))
        self.layers = _dilated(8, width, 3, (1, 2, 2))

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Both N x 3 x S x S in [-1, 1] -> way N x 2 x s x s, from each point of the edited face to where it was, in
        (x, y) sides of the picture; fit N x 1 x s x s in 0..1; s the finest level."""
        way = before.new_zeros(len(before), 2, self.sizes[0], self.sizes[0], dtype=torch.float32)
        found = way
        for size in self.sizes:
            way = resized(way, size)
            then, now = (F.adaptive_avg_pool2d(picture, size) for picture in (before, after))
            with torch.autocast(before.device.type, enabled=False):  # bfloat16 is too coarse for tenths of a pixel
                found = self.layers(torch.cat((now, carry(then, way), way * size), 1).float())
            way = way + 2 * torch.tanh(found[:, :2] / 2) / size  # at most two pixels a level
        return way, torch.sigmoid(found[:, 2:] + 3)


class Stillness(nn.Module):
    """The distortion map and both coarse pictures -> where the photo stays as it is, whatever the edit.

    A code that ages a face shifts the light behind it too, and a carried map brings back what the code had lost, not
    what the edit changed by the way. There the generator goes on from its unedited features.
    """

    def __init__(self, width: int = 16, size: int = 64) -> None:
        super().__init__()
        self.size = size
        self.layers = _dilated(9, width, 1, (1, 2, 4, 8))

    def forward(self, distortion: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """All N x 3 x S x S -> N x 1 x s x s in 0..1."""
        parts = [F.adaptive_avg_pool2d(part, self.size) for part in (distortion, before, after)]
        with torch.autocast(before.device.type, enabled=False):  # as the movement: small sums of nearly equal pictures
            return torch.sigmoid(self.layers(torch.cat(parts, 1).float()) - 3)


@dataclass(frozen=True, eq=False)
class Following:
    """How a photo follows an edit.

    distortion  the distortion map after it, N x 3 x S x S: carried along with the face and faded where it no longer
                belongs; as it was where the photo stays
    way, fit    of `FaceMovement`
    stay        of `Stillness`
    """

    distortion: Tensor
    way: Tensor
    fit: Tensor
    stay: Tensor

    def carried(self, picture: Tensor) -> Tensor:
        """N x C x s x s of the photo, carried along and faded."""
        return carry(picture, self.way.detach()) * resized(self.fit, picture.shape[-1])

    def held(self, edited: Tensor, unedited: Tensor) -> Tensor:
        """Both N x C x s x s: where the photo stays, the unedited."""
        return edited + resized(self.stay.detach(), edited.shape[-1]) * (unedited - edited)

    def hold(self, edited: Partial, features: Tensor, image: Tensor) -> Partial:
        """The generator stopped at its hook; features, image: of the unedited codes there."""
        return Partial(self.held(edited.features, features), self.held(edited.image, image))


class Follower(nn.Module):
    """Movement and stillness together. movement, stillness: their arguments."""

    def __init__(self, movement: tuple[int, int, int] = (24, 16, 64), stillness: tuple[int, int] = (16, 64)) -> None:
        super().__init__()
        self.movement = FaceMovement(*movement)
        self.stillness = Stillness(*stillness)

    def forward(self, distortion: Tensor, before: Tensor, after: Tensor, *, bent: bool = False) -> Following:
        """The distortion map and both coarse pictures N x 3 x S x S, these in [-1, 1] -> how they follow.

        What follows gives no gradient to way and stay: movement learns from the coarse pictures alone, stillness from
        masks. bent: the edit is a change of geometry that took the background along, so nothing stays.
        """
        way, fit = self.movement(before, after)
        stay = torch.zeros_like(fit) if bent else self.stillness(distortion, before, after)
        following = Following(distortion, way, fit, stay)
        return replace(following, distortion=following.held(following.carried(distortion), distortion))


def carry(picture: Tensor, way: Tensor) -> Tensor:
    """A picture N x C x S x S with each point replaced by the one that lies `way` (N x 2 x s x s, in sides) from it."""
    side = picture.shape[-1]
    way = resized(way.float(), side)
    axis = (torch.arange(side, device=picture.device) + 0.5) / side * 2 - 1
    here = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    grid = here + 2 * way.permute(0, 2, 3, 1)
    return F.grid_sample(picture.float(), grid, padding_mode="border", align_corners=False)


def _dilated(in_channels: int, width: int, out_channels: int, dilations: tuple[int, ...]) -> nn.Sequential:
    """3 x 3 convolutions of these dilations, each with a leaky ReLU, and one without either."""
    layers: list[nn.Module] = []
    for channels, dilation in zip((in_channels, *(width for _ in dilations[1:])), dilations, strict=True):
        layers += [nn.Conv2d(channels, width, 3, 1, dilation, dilation=dilation), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width, out_channels, 3, 1, 1))
