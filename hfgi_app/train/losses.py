"""Losses of the training stages. Pictures are N x 3 x R x R in [-1, 1]; every loss is a scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (1, 2, 4, 8)


def multiscale_l1(made: Tensor, truth: Tensor) -> Tensor:
    """Sum of L1 at average-pooling 1, 2, 4 and 8: large shapes weigh as much as fine ones."""
    return torch.stack([F.l1_loss(F.avg_pool2d(made, k), F.avg_pool2d(truth, k)) for k in LEVELS]).sum()


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
