"""PTI (Roich et al. 2022): the generator itself is tuned until the photo's codes give the photo."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.errors import HfgiError
from hfgi_app.images import resize
from hfgi_app.networks.stylegan2 import Generator, SynthesisLayer, ToRGB
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Method

PASSES = 8.0
"""What one step takes, in generator passes without gradients: forward and backward at the pivot and beside it."""


@dataclass(frozen=True, eq=False)
class PTIDetail:
    """The photo's own generator. Its affine layers, mapping and noise are the model's."""

    generator: Generator

    @property
    def nbytes(self) -> int:
        return sum(parameter.nbytes for parameter in _tuned(self.generator))


class PTI:
    """Per photo: pivotal tuning around e4e's codes. Per edit: the tuned generator renders the edited styles.

    Two departures from the paper: its LPIPS cannot be shipped, so pictures are compared by L1 at several scales; and
    the affine layers stay as they are, so that an edit means the same to both generators.
    """

    method = Method(
        "pti",
        "PTI (slow)",
        "Roich et al., Pivotal Tuning for Latent-based Editing of Real Images, ACM TOG 2022 (re-implementation: L1 at "
        "several scales instead of LPIPS)",
    )
    networks: tuple[str, ...] = ()
    steps = 100
    learning_rate = 3e-3
    locality_weight = 1.0
    locality_reach = 0.3
    """How far from the pivot towards a random code the generator is held to what it was, 1 being all the way."""
    patience = 600.0
    """Seconds that tuning may take at most."""

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> PTIDetail:
        """Tune; `progress` may raise to cancel. Raises HfgiError where it would take too long here."""
        report = progress or (lambda share, what: None)
        seconds = self.estimate(inversion)
        report(0.0, f"Tuning the generator to this photo, about {_spoken(seconds)}")
        if seconds > self.patience:
            raise HfgiError(f"PTI would take about {_spoken(seconds)} here; choose another method, or use a GPU.")
        tuned = _copy(self.generator)
        with torch.enable_grad():
            self._tune(tuned, inversion, report)
        return PTIDetail(tuned.requires_grad_(False))

    def render(self, detail: PTIDetail, edit: Edit) -> Tensor:
        return detail.generator.finish(detail.generator.begin(edit.styles), edit.styles)

    @torch.no_grad()
    def estimate(self, inversion: Inversion) -> float:
        """Seconds that all steps will take, from one pass on this machine."""
        started = time.perf_counter()
        self.generator(inversion.codes).cpu()
        return (time.perf_counter() - started) * PASSES * self.steps

    def _tune(self, tuned: Generator, inversion: Inversion, report: Progress) -> None:
        optimiser = torch.optim.Adam(_tuned(tuned), self.learning_rate)
        rng = torch.Generator().manual_seed(0)
        started = time.perf_counter()
        for step in range(self.steps):
            optimiser.zero_grad(set_to_none=True)
            _difference(tuned(inversion.codes), inversion.source).backward()
            (self.locality_weight * self._locality(tuned, inversion.codes, rng)).backward()
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * (1 - step / self.steps)
            optimiser.step()
            left = (time.perf_counter() - started) / (step + 1) * (self.steps - step - 1)
            report((step + 1) / self.steps, f"Tuning the generator to this photo, {_spoken(left)} left")

    def _locality(self, tuned: Generator, pivot: Tensor, rng: torch.Generator) -> Tensor:
        """How far the tuned generator strays from the model's at a code beside the pivot (section 3.3)."""
        with torch.no_grad():
            z = torch.randn(1, pivot.shape[-1], generator=rng).to(pivot.device)
            beside = pivot + self.locality_reach * (self.generator.mapping(z)[:, None] - pivot)
            truth = self.generator(beside)
        return _difference(tuned(beside), truth)


def _copy(generator: Generator) -> Generator:
    """A generator whose convolutions and to-RGB layers are its own to learn; all else it shares."""
    layers = [*generator.layers, *generator.to_rgbs]
    shared: list[nn.Module] = [generator.mapping, *(cast(SynthesisLayer | ToRGB, each).conv.affine for each in layers)]
    noise = [buffer for buffer in generator.buffers() if buffer is not None]
    tuned = deepcopy(generator, {id(part): part for part in (*shared, *noise)})
    for parameter in _tuned(tuned):
        parameter.requires_grad_()
    return tuned


def _tuned(generator: Generator) -> list[nn.Parameter]:
    named = generator.named_parameters()
    return [parameter for name, parameter in named if "affine" not in name and not name.startswith("mapping.")]


def _difference(made: Tensor, truth: Tensor) -> Tensor:
    """L1 at average-pooling 1, 2, 4 and 8, at the size of `truth`."""
    difference = resize(made, truth.shape[-1]) - truth
    return torch.stack([F.avg_pool2d(difference, scale).abs().mean() for scale in (1, 2, 4, 8)]).sum()


def _spoken(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"
