"""Faces of a model's own: z drawn by seed, their codes, and pictures of them to be scored."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from hfgi_app import images
from hfgi_app.models import Models


@torch.no_grad()
def mapped(models: Models, seed: int) -> Tensor:
    """The code w, 1 x D, of the z that a seed stands for."""
    z = torch.randn(1, models.generator.config.dim, generator=torch.Generator().manual_seed(seed))
    w: Tensor = models.generator.mapping(z.to(models.device))
    return w


@torch.no_grad()
def write(models: Models, folder: Path, count: int, seed: int = 0) -> None:
    """Pictures of the faces of `count` seeds from `seed` on, and a labels.csv that names file and seed of each: with a
    column of scores added to it, the folder is what `directions fit` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("file", "seed"))
        for one in tqdm(range(seed, seed + count), desc="samples", unit="face"):
            w = mapped(models, one)
            picture = models.generator(w[:, None].expand(-1, models.generator.config.rows, -1))
            images.write(folder / f"{one:06}.png", images.to_photo(picture))
            table.writerow((f"{one:06}.png", one))
