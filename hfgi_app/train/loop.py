"""What every stage shares: where a run lives, resuming, averaging weights, logging, sample sheets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from hfgi_app.images import to_photo
from hfgi_app.train import augment
from hfgi_app.train.data import Pack

State = dict[str, Any]


class Plan(Protocol):
    """What the loop needs to know of a stage's plan: side in pixels, length, batch and intervals in pictures."""

    @property
    def size(self) -> int: ...
    @property
    def pictures(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def save_every(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step learns from.

    photos   N x 3 x S x S in [-1, 1]
    persons  N x 1 x S x S in 0..1, how sure it is that a place of the photo shows the person
    reals    N x 3 x S x S in [-1, 1], sharp photos for the discriminator
    """

    photos: Tensor
    persons: Tensor
    reals: Tensor


class Trainer(Protocol):
    """Networks in training, `seen` pictures into their run."""

    seen: int
    device: torch.device

    def step(self, batch: Batch, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Learn from a batch; returns values to log."""
        ...

    def state(self) -> State:
        """Everything needed to go on."""
        ...

    def evaluate(self, pack: Pack, path: Path) -> Mapping[str, float]:
        """Figures on test pictures, and a sheet of pictures at `path`."""
        ...


def advance(trainer: Trainer, plan: Plan, pack: Pack, run: Path, name: str) -> None:
    """Train until `plan.pictures` pictures were seen; every so often save run/<name>.pt, a sheet and a line of the
    log."""
    log = Log(run / "log.jsonl")
    rng = torch.Generator().manual_seed(plan.seed + trainer.seen)
    every, sharp = pack.indices(test=False), pack.indices(test=False, sharp=plan.size > 64)
    where = plan.size, trainer.device
    next_save = trainer.seen + plan.save_every
    with tqdm(total=plan.pictures, initial=trainer.seen, desc=name, unit="picture") as bar:
        while trainer.seen < plan.pictures:
            chosen, clear = (rows[torch.randint(len(rows), (plan.batch,), generator=rng)] for rows in (every, sharp))
            both = torch.cat((pack.batch(chosen, *where), pack.people(chosen, *where)), 1)
            photos, persons = augment.flip(both, rng).split((3, 1), 1)
            batch = Batch(photos, persons, augment.flip(pack.batch(clear, *where), rng))
            log.add(plan.batch, trainer.step(batch, rng))
            trainer.seen += plan.batch
            bar.update(plan.batch)
            if trainer.seen >= min(next_save, plan.pictures):
                next_save += plan.save_every
                save(run / f"{name}.pt", trainer.state())
                figures = trainer.evaluate(pack, run / "sheets" / f"{name}-{trainer.seen:07d}.png")
                log.write(stage=name, seen=trainer.seen, **figures)


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
