"""e4e alone: the coarse edit as it is, with nothing brought back. The baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hfgi_app.networks.stylegan2 import Generator
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method


@dataclass(frozen=True)
class Nothing:
    """The Detail of a method that keeps none."""

    nbytes: int = 0


class E4E:
    """Tov et al. 2021."""

    method = Method(
        "e4e", "e4e only", "Tov et al., Designing an Encoder for StyleGAN Image Manipulation, SIGGRAPH 2021"
    )
    networks: tuple[str, ...] = ()

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Nothing of its own to load."""

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> Nothing:
        return Nothing()

    def render(self, detail: Nothing, edit: Edit) -> Tensor:
        return edit.coarse
