"""InterfaceGAN (Shen et al. 2020): a direction is one step in latent space, the same for every photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.base import Facts, Source, described
from hfgi_app.errors import WeightsError
from hfgi_app.networks.stylegan2 import GeneratorConfig
from hfgi_app.types import Delta, Group, Inversion, Slider

PUBLISHED: Mapping[str, Facts] = {
    "age": {"label": "Age", "low": -10, "high": 10, "step": 0.1},
    "smile": {"label": "Smile", "low": -5, "high": 5, "step": 0.1},
    "pose": {"label": "Pose", "low": -7, "high": 7, "step": 0.1},
}
"""Ranges over the published FFHQ directions that later editors found usable; a unit is the unit vector."""


class InterfaceGAN:
    """Directions D, 1 x D, L x D or 1 x L x D by name; `facts` says how each is shown, where that is known."""

    group: ClassVar[Group] = Group("interfacegan", "Attributes", "Learnt from labelled faces, one attribute each.")
    files: ClassVar[tuple[str, ...]] = tuple(f"{name}.pt" for name in PUBLISHED)

    def __init__(self, directions: Mapping[str, Tensor], facts: Mapping[str, Facts] = PUBLISHED) -> None:
        self.directions = directions
        self._described = described(self.group.name, directions, facts)

    @classmethod
    def build(cls, source: Source) -> InterfaceGAN | None:
        """Published files in the folder, and directions stored as "interfacegan.<name>" with facts of that name."""
        stored = weights.part(source.tensors, cls.group.name)
        own: Mapping[str, Facts] = source.config.get(cls.group.name, {})
        found = {name: path for name in PUBLISHED if (path := source.published(f"{name}.pt"))}
        directions = {name: _fitting(path.name, weights.read_pickle(path), source) for name, path in found.items()}
        directions |= {name: _fitting(name, stored[name], source) for name in own if name in stored}
        return cls(directions, {**PUBLISHED, **own}) if directions else None

    def sliders(self) -> Sequence[Slider]:
        return [slider for slider, _ in self._described.values()]

    def delta(self, name: str, inversion: Inversion) -> Delta:
        direction = self.directions[name].to(inversion.codes)
        direction = direction.reshape(1, -1, inversion.codes.shape[2])
        return Delta(w=direction.expand_as(inversion.codes), curve=self._described[name][1])


def _fitting(what: str, direction: object, source: Source) -> Tensor:
    config: GeneratorConfig = source.generator
    shapes = [(1, config.dim), (1, config.rows, config.dim)]
    if not isinstance(direction, Tensor) or direction.shape not in (*shapes, *(shape[1:] for shape in shapes)):
        ways = " or ".join(f"a tensor {' x '.join(map(str, shape))}" for shape in shapes)
        raise WeightsError(f"{what} is no direction of this model; expected {ways}.")
    return direction
