"""InterfaceGAN (Shen et al. 2020): a direction is one vector of W, added to every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from hfgi_app.directions.base import metadata_sliders
from hfgi_app.types import Delta, Inversion, Slider

PUBLISHED: Mapping[str, Mapping[str, object]] = {
    "age": {"label": "Age", "low": -10, "high": 10, "step": 0.1},
    "smile": {"label": "Smile", "low": -5, "high": 5, "step": 0.1},
    "pose": {"label": "Pose", "low": -7, "high": 7, "step": 0.1},
}
"""Ranges over the published FFHQ directions that later editors found usable; a unit is the unit vector."""


class InterfaceGAN:
    """Directions D, 1 x D, L x D or 1 x L x D by name; `facts` gives label, range and unit of each where known."""

    name = "interfacegan"

    def __init__(self, directions: Mapping[str, Tensor], facts: Mapping[str, Mapping[str, object]] = PUBLISHED) -> None:
        self._directions = directions
        self._facts = facts

    def sliders(self) -> Sequence[Slider]:
        return metadata_sliders(self.name, self._directions, self._facts)

    def delta(self, name: str, inversion: Inversion) -> Delta:
        direction = self._directions[name].to(inversion.codes)
        direction = direction.reshape(1, -1, inversion.codes.shape[2])
        return Delta(w=direction.expand_as(inversion.codes))
