"""GANSpace (Haerkoenen et al. 2020): principal components of W on a range of rows.

A slider is relative, so that zero is no edit. The published presets are absolute coordinates; `relative` turns one
into the strength that reaches it from where the photo is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hfgi_app.directions.base import metadata_sliders, rows
from hfgi_app.types import Delta, Inversion, Slider


@dataclass(frozen=True)
class Preset:
    """A named edit: component, first row, row after the last, and the published absolute strength."""

    component: int
    start: int
    end: int
    strength: float = 0.0


PUBLISHED: Mapping[str, Preset] = {
    "eyes": Preset(54, 7, 8, 20),
    "beard": Preset(58, 7, 9, -20),
    "lip": Preset(34, 10, 11, 20),
}
"""The edits HFGI's authors published for the 1024 px FFHQ generator."""

RANGES: Mapping[str, Mapping[str, object]] = {
    "eyes": {"label": "Close eyes", "low": -30, "high": 45, "step": 1},
    "beard": {"label": "Trim beard", "low": -30, "high": 30, "step": 1},
    "lip": {"label": "Lipstick", "low": -30, "high": 30, "step": 1},
}


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of W: mean D, directions K x D of unit length, deviations K."""

    mean: Tensor
    directions: Tensor
    deviations: Tensor

    @classmethod
    def published(cls, tensors: Mapping[str, Tensor]) -> Components:
        """From the published layout: mean 1 x D, comp K x 1 x D, std K."""
        return cls(tensors["mean"].reshape(-1), tensors["comp"].flatten(1), tensors["std"].reshape(-1))


class GANSpace:
    """One slider per preset; strength counts standard deviations of the component."""

    name = "ganspace"

    def __init__(
        self,
        components: Components,
        presets: Mapping[str, Preset] = PUBLISHED,
        facts: Mapping[str, Mapping[str, object]] = RANGES,
    ) -> None:
        self._components = components
        self._presets = presets
        self._facts = facts

    def sliders(self) -> Sequence[Slider]:
        return metadata_sliders(self.name, self._presets, self._facts)

    def delta(self, name: str, inversion: Inversion) -> Delta:
        preset, parts = self._presets[name], self._components
        step = (parts.deviations[preset.component] * parts.directions[preset.component]).to(inversion.codes)
        return Delta(w=rows(step, inversion.codes.shape[1], preset.start, preset.end))

    def relative(self, preset: Preset, inversion: Inversion) -> float:
        """The strength that takes this photo to the preset's absolute coordinate, read from row 0 of its codes."""
        parts, which = self._components, preset.component
        row = inversion.codes[0, 0].cpu()
        coordinate = torch.dot(row - parts.mean, parts.directions[which]) / parts.deviations[which]
        return preset.strength - float(coordinate)
