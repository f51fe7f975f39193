"""Changes to training pictures, N x 3 x R x R in [-1, 1], each row with draws of its own from the given generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hfgi_app.train.losses import ellipse


def flip(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror half of the pictures."""
    mirrored = _uniform(pictures, rng, 1, 0, 1) < 0.5
    return torch.where(mirrored, pictures.flip(3), pictures)


def colour(pictures: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Random brightness, gain and tint; `strength` is the largest change of each."""
    gain = 1 + _uniform(pictures, rng, 3, -strength, strength)
    shift = _uniform(pictures, rng, 1, -strength, strength)
    return (pictures * gain + shift).clamp(-1, 1)


def differentiable(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """What the discriminator sees: brightness shift, translation by up to an eighth (DiffAugment, Zhao et al. 2020)."""
    shifted = pictures + _uniform(pictures, rng, 1, -0.3, 0.3)
    reach = pictures.shape[-1] // 8
    moves = torch.randint(-reach, reach + 1, (pictures.shape[0], 2), generator=rng).tolist()
    return torch.stack([torch.roll(row, move, (1, 2)) for row, move in zip(shifted, moves, strict=True)])


def move(pictures: Tensor, rng: torch.Generator, shift: float, scale: float, turn: float) -> Tensor:
    """Random similarity: shift in shares of the side, log-scale, turn in radians; reflected beyond the border."""
    count = pictures.shape[0]
    draws = torch.rand(count, 4, generator=rng) * 2 - 1
    angle, zoom = draws[:, 2] * turn, (draws[:, 3] * scale).exp()
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    offsets = draws[:, :2] * 2 * shift
    rows = [torch.stack((cos, -sin, offsets[:, 0]), 1), torch.stack((sin, cos, offsets[:, 1]), 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(pictures.device), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _uniform(pictures: Tensor, rng: torch.Generator, channels: int, low: float, high: float) -> Tensor:
    """N x channels x 1 x 1."""
    draws = torch.rand(pictures.shape[0], channels, 1, 1, generator=rng)
    return (low + (high - low) * draws).to(pictures.device)


def bend(pictures: Tensor, rng: torch.Generator, reach: float) -> Tensor:
    """Push the middle of each picture aside, the border staying where it is: how a turning head moves before its
    background. `reach` is the largest shift in shares of the side."""
    count, side = pictures.shape[0], pictures.shape[-1]
    axis = torch.linspace(-1, 1, side)
    centre = torch.rand(count, 2, 1, 1, generator=rng) * 0.5 - 0.25
    width = 0.35 + 0.35 * torch.rand(count, 1, 1, generator=rng)
    distance = (axis[None, :, None] - centre[:, 1]).square() + (axis[None, None, :] - centre[:, 0]).square()
    push = (torch.rand(count, 1, 1, 2, generator=rng) * 2 - 1) * 2 * reach * torch.tensor([1.0, 0.5])
    field = torch.exp(-distance / (2 * width.square()))[..., None] * push
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1) + field
    return F.grid_sample(pictures, grid.to(pictures.device), padding_mode="reflection", align_corners=True)


def odd(pictures: Tensor, persons: Tensor, rng: torch.Generator, share: float) -> Tensor:
    """Make a share of the pictures unlike the training photos: another light, another background, a thing before the
    face. persons: N x 1 x R x R in 0..1, where the pictures show a person."""
    kinds = torch.randint(4, (len(pictures),), generator=rng).tolist()
    hit = torch.rand(len(pictures), generator=rng) < share
    options = (
        colour(pictures, rng, 0.4),
        gamma(pictures, rng),
        background(pictures, persons, rng),
        occlude(pictures, rng),
    )
    return torch.stack([options[k][i] if hit[i] else pictures[i] for i, k in enumerate(kinds)])


def gamma(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Darker or brighter in the middle tones, exponent 0.6 to 1.7."""
    exponent = _uniform(pictures, rng, 1, -0.5, 0.5).exp()
    return ((pictures.clamp(-1, 1) + 1) / 2).clamp(min=1e-3).pow(exponent) * 2 - 1


def background(pictures: Tensor, persons: Tensor, rng: torch.Generator) -> Tensor:
    """Behind the persons (N x 1 x R x R in 0..1) a play of random colours, large ones and small ones."""
    behind = 0.75 * _clouds(pictures, rng, 4) + 0.25 * _clouds(pictures, rng, 24)
    return persons * pictures + (1 - persons) * behind


def occlude(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """A soft-edged blot, a tenth to a third of the side across, of random colours; or a bar of one colour."""
    rows = []
    bars = _bar(pictures, rng)
    straight = torch.rand(len(pictures), generator=rng) < 0.5
    for picture in pictures:
        x, y, width, height = torch.rand(4, generator=rng).tolist()
        blot = ellipse(picture.shape[-1], (0.15 + 0.7 * x, 0.15 + 0.7 * y), (0.05 + 0.12 * width, 0.05 + 0.12 * height))
        blot = blot[0].to(picture.device)
        rows.append((1 - blot) * picture + blot * _clouds(picture[None], rng, 3)[0])
    return torch.where(straight[:, None, None, None].to(pictures.device), bars, torch.stack(rows))


def _bar(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """With a bar of one colour, up to a fifth of the side thick and three quarters of it long, over each."""
    count, side = len(pictures), pictures.shape[-1]
    axis = (torch.arange(side) + 0.5) / side
    x, y, angle, width, length = torch.rand(5, count, 1, 1, generator=rng)
    right, down = axis[None, None, :] - (0.25 + 0.5 * x), axis[None, :, None] - (0.25 + 0.5 * y)
    cos, sin = (torch.pi * angle).cos(), (torch.pi * angle).sin()
    along, across = (cos * right + sin * down).abs(), (cos * down - sin * right).abs()
    inside = ((along < 0.2 + 0.18 * length) & (across < 0.02 + 0.08 * width))[:, None].to(pictures.device)
    return torch.where(inside, _uniform(pictures, rng, 3, -1, 1), pictures)


def _clouds(pictures: Tensor, rng: torch.Generator, cells: int) -> Tensor:
    """Smooth random colours, as many and as large as the pictures."""
    count, channels, *size = pictures.shape
    dots = torch.rand(count, channels, cells, cells, generator=rng) * 2 - 1
    return F.interpolate(dots, size=size, mode="bilinear", align_corners=False).to(pictures.device)
