"""What a family of directions is: named sliders, and one step along each for a given photo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from hfgi_app.errors import WeightsError
from hfgi_app.networks.stylegan2 import GeneratorConfig
from hfgi_app.types import Curve, Delta, Group, Inversion, Latents, Slider

Facts = Mapping[str, Any]
"""How a direction is shown: label, low, high, step, unit, each with a default, and where its unit is no plain multiple
`curve`, two lists: strengths and the multiples of the delta they are worth."""


@dataclass(frozen=True, eq=False)
class Source:
    """What families are built from.

    generator  the generator's sizes; its weights are among the tensors
    tensors    by "<network or family>.<name>"
    config     by the same first names; under a family's its directions' facts by name
    folder     a folder of published files, where the user has one
    """

    generator: GeneratorConfig
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    folder: Path | None = None

    def published(self, file: str) -> Path | None:
        """The published file of that name, where the folder holds it."""
        path = None if self.folder is None else self.folder / file
        return path if path is not None and path.exists() else None


class Family(Protocol):
    """One file of this folder implements it once. `group.name` is the part of a slider's name before the slash."""

    group: ClassVar[Group]
    files: ClassVar[tuple[str, ...]]
    """Published files that it reads from a directions folder."""

    @classmethod
    def build(cls, source: Source) -> Family | None:
        """The family as this model has it, or None where the model has nothing for it.

        Raises WeightsError where what there is does not fit.
        """
        ...

    def sliders(self) -> Sequence[Slider]:
        """The family's sliders, in the order in which they are shown."""
        ...

    def delta(self, name: str, inversion: Inversion) -> Delta:
        """One step along the direction `name` (the part after the slash) for this photo."""
        ...


def apply(codes: Tensor, edits: Iterable[tuple[float, Delta]]) -> Latents:
    """codes 1 x L x D + the sum of curve(strength) * delta: no edit is exactly the codes, and order never matters.

    The sum is taken apart from the codes, in float64 (on the CPU: not every device has it) and sorted by the caller,
    so that equal recipes give equal bits.
    """
    shift: Tensor | None = None
    styles: dict[int, Tensor] = {}
    for strength, delta in edits:
        multiple = delta.curve(strength)
        if delta.w is not None:
            step = multiple * delta.w.cpu().double()
            shift = step if shift is None else shift + step
        for layer, offset in delta.styles:
            step = multiple * offset.cpu().double()
            styles[layer] = styles[layer] + step if layer in styles else step
    w = codes if shift is None else codes + shift.to(codes)
    return Latents(w, tuple((layer, styles[layer].to(codes)) for layer in sorted(styles)))


def rows(vector: Tensor, count: int, start: int = 0, end: int | None = None) -> Tensor:
    """A vector D placed on rows start..end-1 of an otherwise zero 1 x count x D."""
    placed = torch.zeros(1, count, vector.shape[-1], dtype=vector.dtype, device=vector.device)
    placed[:, start:end] = vector
    return placed


def described(family: str, names: Iterable[str], known: Mapping[str, Facts]) -> dict[str, tuple[Slider, Curve]]:
    """Slider and curve of each direction, from the facts stored beside it. Raises WeightsError where they are none."""
    try:
        return {name: _described(family, name, known.get(name, {})) for name in names}
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"A direction of {family} is badly described ({error}); make its file again.") from None


def _described(family: str, name: str, facts: Facts) -> tuple[Slider, Curve]:
    label, unit = str(facts.get("label", name.replace("_", " ").capitalize())), str(facts.get("unit", ""))
    low, high, step = (float(facts.get(key, usual)) for key, usual in (("low", -3), ("high", 3), ("step", 0.1)))
    strengths, multiples = facts.get("curve", ((), ()))
    curve = Curve(tuple(map(float, strengths)), tuple(map(float, multiples)))
    return Slider(f"{family}/{name}", label, low, high, step, unit, family), curve
