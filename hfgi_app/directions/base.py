"""What a family of directions is: named sliders, and one unit of each for a given photo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from hfgi_app.types import Delta, Inversion, Latents, Slider


class Family(Protocol):
    """One file of this folder implements it once.

    `name` is the part of a slider's name before the slash.
    """

    name: str

    def sliders(self) -> Sequence[Slider]:
        """The family's sliders, in the order in which they are shown."""
        ...

    def delta(self, name: str, inversion: Inversion) -> Delta:
        """One unit of the direction `name` (the part after the slash) for this photo."""
        ...


def apply(codes: Tensor, edits: Iterable[tuple[float, Delta]]) -> Latents:
    """codes 1 x L x D + the sum of strength * delta: linear, so no edit is exactly the codes and order never matters.

    The sum is taken apart from the codes, in float64 (on the CPU: not every device has it) and sorted by the caller,
    so that equal recipes give equal bits.
    """
    shift: Tensor | None = None
    styles: dict[int, Tensor] = {}
    for strength, delta in edits:
        if delta.w is not None:
            step = strength * delta.w.cpu().double()
            shift = step if shift is None else shift + step
        for layer, offset in delta.styles:
            step = strength * offset.cpu().double()
            styles[layer] = styles[layer] + step if layer in styles else step
    w = codes if shift is None else codes + shift.to(codes)
    return Latents(w, tuple((layer, styles[layer].to(codes)) for layer in sorted(styles)))


def rows(vector: Tensor, count: int, start: int = 0, end: int | None = None) -> Tensor:
    """A vector D placed on rows start..end-1 of an otherwise zero 1 x count x D."""
    placed = torch.zeros(1, count, vector.shape[-1], dtype=vector.dtype, device=vector.device)
    placed[:, start:end] = vector
    return placed


def metadata_sliders(family: str, names: Iterable[str], known: Mapping[str, Mapping[str, object]]) -> list[Slider]:
    """Sliders for the directions at hand, with label, range and unit from a description stored beside them."""
    sliders = []
    for name in names:
        facts = known.get(name, {})
        sliders.append(
            Slider(
                name=f"{family}/{name}",
                label=str(facts.get("label", name.replace("_", " ").capitalize())),
                low=float(str(facts.get("low", -3))),
                high=float(str(facts.get("high", 3))),
                step=float(str(facts.get("step", 0.1))),
                unit=str(facts.get("unit", "")),
                family=family,
            )
        )
    return sliders
