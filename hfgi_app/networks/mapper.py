"""StyleCLIP's latent mapper: codes -> one edit step for them (Patashnik et al. 2021, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hfgi_app.networks.ops import EqualLinear, scaled_leaky_relu

ROWS = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, None)}
"""First row and row after the last of each group."""


class GroupMapper(nn.Module):
    """N x rows x D -> the same shape."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(dim, dim, lr_mul=0.01) for _ in range(layers))

    def forward(self, w: Tensor) -> Tensor:
        # The published mappers were trained with a norm over the rows of a group, not over the code's D numbers.
        x = w * torch.rsqrt(w.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = scaled_leaky_relu(layer(x))
        return x


class LatentMapper(nn.Module):
    """Codes N x L x D -> step N x L x D; rows of groups that it lacks stay 0."""

    def __init__(self, groups: Sequence[str], dim: int = 512, layers: int = 4) -> None:
        super().__init__()
        self.groups = nn.ModuleDict({name: GroupMapper(dim, layers) for name in ROWS if name in groups})

    def forward(self, w: Tensor) -> Tensor:
        step = torch.zeros_like(w)
        for name, mapper in self.groups.items():
            start, end = ROWS[name]
            step[:, start:end] = mapper(w[:, start:end])
        return step
