"""Losses of the training stages. Pictures are N x 3 x R x R in [-1, 1]; every loss is a scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (1, 2, 4, 8)


def multiscale_l1(made: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum of L1 at average-pooling 1, 2, 4 and 8: large shapes weigh as much as fine ones.

    weight: 1 x 1 x R x R, how much each place counts.
    """
    difference = made - truth
    levels = [F.avg_pool2d(difference, level).abs() for level in LEVELS]
    if weight is not None:
        levels = [level * F.avg_pool2d(weight, scale) for level, scale in zip(levels, LEVELS, strict=True)]
    return torch.stack([level.mean() for level in levels]).sum()


def ellipse(size: int, centre: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """1 inside, softly 0 outside, 1 x 1 x size x size; centre and radii (x, y) in shares of the side."""
    axis = (torch.arange(size) + 0.5) / size
    distance = ((axis[None, :] - centre[0]) / radii[0]).square() + ((axis[:, None] - centre[1]) / radii[1]).square()
    return torch.sigmoid(8 * (1 - distance))[None, None]


def features_weight(size: int) -> Tensor:
    """Eyes, nose and mouth count five times: a twentieth of an aligned picture carries most of the expression."""
    return 1 + 4 * ellipse(size, (0.5, 0.6), (0.27, 0.25))


def feature_distance(made: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Mean L1 between discriminator features (feature matching): the perceptual term that needs no download."""
    return torch.stack([F.l1_loss(a.float(), b.float()) for a, b in zip(made, truth, strict=True)]).mean()


def generator_loss(score: Tensor) -> Tensor:
    """Non-saturating GAN loss for the generator (Goodfellow et al. 2014)."""
    return F.softplus(-score.float()).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Non-saturating GAN loss for the discriminator."""
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def r1_penalty(score: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Squared gradient of the score on real pictures (Mescheder et al. 2018), in full precision."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(real).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def sliced_wasserstein(made: Tensor, truth: Tensor, rng: torch.Generator, directions: int = 64) -> Tensor:
    """Squared distance between two clouds of N points, N x D each: mean over random directions of the squared distance
    between the sorted projections (Bonneel et al. 2015)."""
    axes = F.normalize(torch.randn(made.shape[1], directions, generator=rng), dim=0).to(made.device)
    return F.mse_loss((made @ axes).sort(0).values, (truth @ axes).sort(0).values)
