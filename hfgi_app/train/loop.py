"""What every stage shares: where a run lives, resuming, averaging weights, logging, sample sheets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from hfgi_app.images import to_photo

State = dict[str, Any]


class Average:
    """Exponential moving average of a module's parameters, with a half-life in pictures.

    Buffers are copied: batch statistics are averages already, and theirs begin far from the truth.
    """

    def __init__(self, module: nn.Module, half_life: float) -> None:
        self.half_life = half_life
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, pictures: int) -> None:
        """Move towards the module by what `pictures` more pictures are worth."""
        weight = 1 - 0.5 ** (pictures / self.half_life)
        parameters = dict(module.named_parameters())
        torch._foreach_lerp_([self.tensors[name] for name in parameters], list(parameters.values()), weight)
        for name, buffer in module.named_buffers():
            self.tensors[name].copy_(buffer)


class Log:
    """One JSON object a line in `log.jsonl`: means since the last line, pictures seen, pictures a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.began, self.pictures = time.perf_counter(), 0

    def add(self, pictures: int, values: Mapping[str, Tensor]) -> None:
        """Take in one step's values."""
        self.pictures += pictures
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
            self.counts[name] = self.counts.get(name, 0) + 1

    def write(self, **fields: object) -> None:
        """Append a line and start over."""
        means = {name: round(total / self.counts[name], 5) for name, total in self.sums.items()}
        speed = round(self.pictures / max(time.perf_counter() - self.began, 1e-9), 2)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**fields, **means, "pictures_per_second": speed}) + "\n")
        self.sums, self.counts = {}, {}
        self.began, self.pictures = time.perf_counter(), 0


def save(path: Path, state: State) -> None:
    """Write a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load(path: Path) -> State | None:
    """A checkpoint, or None where there is none yet."""
    if not path.exists():
        return None
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def sheet(path: Path, rows: list[Tensor]) -> None:
    """Pictures (each N x 3 x R x R in [-1, 1]) as a grid, one tensor a row."""
    line = torch.cat([torch.cat(list(row.detach().float().cpu().clamp(-1, 1)), 2) for row in rows], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_photo(line[None])).save(path)


def freeze(module: nn.Module) -> nn.Module:
    """No gradients, and batch statistics as they are: e4e's batch norm must not drift while others train."""
    return module.requires_grad_(False).eval()


def low_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for convolutions; sums, norms and losses stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)
