"""The published networks with seeded weights, their edits in the published strengths, and the figures to compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from parity import fill
from torch import Tensor, nn

from hfgi_app import layouts
from hfgi_app.directions import ganspace
from hfgi_app.directions.base import Family, apply
from hfgi_app.directions.ganspace import Components, GANSpace
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.models import CATALOGUE, Models
from hfgi_app.types import Inversion, Latents

TOLERANCE = 1e-4
LIP = ganspace.PUBLISHED["lip"]
STRENGTHS = {"age_p3": ("age", 3.0), "smile_m2": ("smile", -2.0)}


def families() -> dict[str, Family]:
    directions = {name: torch.from_numpy(array) for name, array in np.load(fill.FOLDER / "directions.npz").items()}
    published = {
        "mean": directions["mean"],
        "comp": directions["comp34"].expand(LIP.component + 1, 1, -1),
        "std": directions["std34"].expand(LIP.component + 1),
    }
    named = {name: directions[name] for name in ("age", "smile")}
    return {
        "interfacegan": InterfaceGAN(named),
        "ganspace": GANSpace(Components.published(published), {"lip": LIP}),
    }


def models(checkpoint: dict[str, Any]) -> Models:
    """As `load_models` makes them of a checkpoint."""
    tensors, metadata = layouts.translate(checkpoint)
    info = next(info for info in CATALOGUE if info.name == "ffhq-1024")
    return Models(info, tensors, json.loads(metadata["config"]), families(), torch.device("cpu"))


def edited(case: str, models: Models, inversion: Inversion) -> Latents:
    """The edited latents of a case, through the direction families."""
    if case == "inversion":
        return Latents(inversion.codes)
    if case in STRENGTHS:
        name, strength = STRENGTHS[case]
        return apply(inversion.codes, [(strength, models.families["interfacegan"].delta(name, inversion))])
    space = models.families["ganspace"]
    assert isinstance(space, GANSpace)
    return apply(inversion.codes, [(space.relative(LIP, inversion), space.delta("lip", inversion))])


class Stages:
    """Compares stages with a layout's figures and remembers which were compared."""

    def __init__(self, layout: str) -> None:
        self.expected = np.load(fill.FOLDER / f"{layout}_ffhq1024_synthetic.npz")
        self.compared: set[str] = set()

    def check(self, stage: str, tensor: Tensor) -> None:
        assert self.distance(stage, tensor) <= TOLERANCE, stage

    def distance(self, stage: str, tensor: Tensor) -> float:
        """Largest absolute difference to any of the stage's figures."""
        found = {stage: tensor.numpy()} if stage in self.expected.files else self._figures(stage, tensor)
        self.compared |= found.keys()
        return max(float(np.abs(self.expected[name] - array).max()) for name, array in found.items())

    def check_levels(self, stage: str, levels: Tensor, *, rounded: bool) -> None:
        """Pixel levels 3 x H x W in 0..255, before the published program rounds or truncates them."""
        self.compared.add(stage)
        middle = levels.permute(1, 2, 0).numpy() - (0.0 if rounded else 0.5)
        assert np.abs(middle - self.expected[stage]).max() <= 0.5 + 255 * TOLERANCE, stage

    def _figures(self, stage: str, tensor: Tensor) -> dict[str, np.ndarray]:
        self.compared.add(f"{stage}__idx")
        flat = tensor.numpy().reshape(-1)  # C order, whatever the memory format
        cells = tensor[0].double().unflatten(2, (16, -1)).unflatten(1, (16, -1)).mean((2, 4)).numpy()
        return {
            f"{stage}__shape": np.array(tensor.shape),
            f"{stage}__grid": cells[: len(self.expected[f"{stage}__grid"])],
            f"{stage}__samples": flat[self.expected[f"{stage}__idx"]],
            f"{stage}__mean": flat.mean(dtype=np.float64),
            f"{stage}__std": flat.std(dtype=np.float64),
        }


@contextmanager
def listening(module: nn.Module, hear: Callable[[Any, Any], None]) -> Iterator[None]:
    """Hear what goes into a module and what comes out."""

    def hook(_module: nn.Module, given: Any, output: Any) -> None:
        hear(given, output)

    handle = module.register_forward_hook(hook)
    yield
    handle.remove()
