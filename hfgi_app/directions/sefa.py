"""SeFa (Shen and Zhou 2021): the directions of W that the generator's own modulation weights answer to most.

Closed form: no photo, no label and no sample is needed, so every model has them; what they do is found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from hfgi_app.directions.base import Facts, Source, described, rows
from hfgi_app.types import Delta, Group, Inversion, Slider

TOP = 3
REACH = 0.5
"""At the end of a slider the styles of its layers have changed by this much, root mean square; they lie around 1."""


class Layers(NamedTuple):
    """A group of rows whose layers are taken together: the usual coarse, middle and fine ones."""

    label: str
    start: int
    end: int | None


LAYERS = {"coarse": Layers("Shape", 0, 4), "middle": Layers("Features", 4, 8), "fine": Layers("Colour", 8, None)}


class SeFa:
    """The first few directions of each group of layers; strength counts unit vectors of W."""

    group: ClassVar[Group] = Group(
        "sefa",
        "Explore",
        "What the generator itself varies most, found in its weights; try what each does.",
        folded=True,
    )
    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, affines: Sequence[Tensor]) -> None:
        """affines: channels x D, the modulation weights of the convolution on each row."""
        self._directions: dict[str, tuple[Tensor, Layers]] = {}
        facts: dict[str, Facts] = {}
        for name, layers in LAYERS.items():
            for number, (direction, reach) in enumerate(_factors(affines[layers.start : layers.end]), 1):
                self._directions[f"{name}_{number}"] = direction, layers
                facts[f"{name}_{number}"] = {"label": f"{layers.label} {number}", **_range(reach)}
        self._described = described(self.group.name, self._directions, facts)

    @classmethod
    def build(cls, source: Source) -> SeFa:
        names = [f"generator.layers.{row}.conv.affine.weight" for row in range(source.generator.rows - 1)]
        return cls([source.tensors[name] for name in names])

    def sliders(self) -> Sequence[Slider]:
        return [slider for slider, _ in self._described.values()]

    def delta(self, name: str, inversion: Inversion) -> Delta:
        direction, layers = self._directions[name]
        return Delta(w=rows(direction.to(inversion.codes), inversion.codes.shape[1], layers.start, layers.end))


def _factors(affines: Sequence[Tensor]) -> Iterator[tuple[Tensor, float]]:
    """Eigenvectors of A^T A, largest first, with A every channel's weights at unit length; each with the strength at
    which the styles have changed by `REACH`."""
    if not affines:
        return
    weight = torch.cat([affine.cpu().double() for affine in affines])
    unit = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)
    for vector in torch.linalg.eigh(unit.T @ unit)[1].T.flip(0)[:TOP]:
        vector = vector * vector[vector.abs().argmax()].sign()  # an eigenvector has no sign of its own
        effect = (weight @ vector).square().mean().sqrt() / weight.shape[1] ** 0.5
        yield vector.float(), REACH / max(float(effect), 1e-12)


def _range(reach: float) -> Facts:
    step = float(f"{reach / 200:.1g}")
    end = round(200 * step, 6)
    return {"low": -end, "high": end, "step": step}
