"""The channel relevance matrix: what every channel of style does to a picture, in a text model's space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hfgi_app import weights
from hfgi_app.errors import RecipeError, WeightsError
from hfgi_app.networks.stylegan2 import GeneratorConfig
from hfgi_app.types import StyleOffsets

KEPT = 200
"""Channels that move where no beta is given; the published examples move 10 (colours) to 200 (shapes)."""


@dataclass(frozen=True, eq=False)
class Relevance:
    """Of the channels C of a generator's convolutions, in their order (to-RGB layers are left out).

    words       name of the text model it was measured with
    matrix      C x E, unit rows (0 where a channel shows nothing)
    deviations  C, standard deviation of each channel among faces
    widths      channels of each convolution
    published   it is the published one, whose users know its strengths
    """

    words: str
    matrix: Tensor
    deviations: Tensor
    widths: tuple[int, ...]
    published: bool = False


@dataclass(frozen=True, eq=False)
class Direction:
    """A prompt's global direction (section 6): the same for every photo.

    text      unit vector E from the neutral phrase to the target
    styles    one unit of alpha, as published: relevance over the largest one, times each channel's deviation
    beta      channels of less relevance do not move
    channels  how many do
    strictest the largest beta that leaves one
    """

    text: Tensor
    styles: StyleOffsets
    beta: float
    channels: int
    strictest: float


def widths(config: GeneratorConfig) -> tuple[int, ...]:
    """Input channels of every convolution: one at 4 px, then two a block."""
    pairs = zip(config.channels, config.channels[1:], strict=False)
    return (config.channels[0], *(width for pair in pairs for width in pair))


def direction(relevance: Relevance, neutral: Tensor, target: Tensor, beta: float | None) -> Direction:
    """From two unit vectors E of phrases; without beta the `KEPT` most relevant channels move.

    As published, the way is the difference of the two; but where the matrix is our own, what leads away from the
    neutral phrase itself is left out: every target has it, and the more of it the more it says.

    Raises RecipeError where the phrases mean the same to the text model, or beta leaves no channel.
    """
    if float((target - neutral).norm()) < 1e-4:
        raise RecipeError("To the text model both sides of the prompt say the same; write another target.")
    text = target - neutral
    if not relevance.published:
        text = text - (text @ neutral) * neutral
    text = F.normalize(text, dim=0)
    scores = relevance.matrix @ text
    strictest = float(scores.abs().max())
    if strictest < 1e-6:
        raise RecipeError("No channel of this model answers to the prompt; write another target.")
    least = float(scores.abs().topk(min(KEPT, len(scores))).values[-1]) if beta is None else beta
    if least > strictest:
        raise RecipeError(f"A beta of {least:g} leaves no channel to move; use at most {strictest:.2g} here.")
    kept = torch.where(scores.abs() >= least, scores / strictest, 0.0)
    steps = (kept * relevance.deviations).split(relevance.widths)
    styles = tuple((layer, step[None]) for layer, step in enumerate(steps) if step.any())
    return Direction(text, styles, least, int((kept != 0).sum()), strictest)


def embedded(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], config: GeneratorConfig) -> Relevance:
    """Our own: tensors matrix and deviations. Raises WeightsError where they do not fit the generator."""
    sizes = widths(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dim = shapes.get("matrix", (0, 0))[-1]
    wanted = {"matrix": (sum(sizes), dim), "deviations": (sum(sizes),)}
    if shapes != wanted:
        raise WeightsError("The relevance matrix does not fit this generator; make it with the command `directions`.")
    return Relevance(str(facts["words"]), tensors["matrix"].float(), tensors["deviations"].float(), sizes)


def published(matrix: Path, statistics: Path, config: GeneratorConfig) -> Relevance:
    """The published fs3.npy and S_mean_std. Raises WeightsError for other files, and for other generators."""
    sizes = widths(config)
    try:
        rows = np.load(matrix, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise WeightsError(f"{matrix.name} is no readable array; expected the published fs3.npy.") from None
    if rows.shape != (sum(sizes), 512):
        raise WeightsError(f"{matrix.name} is not for this generator; expected {sum(sizes)} rows of 512.")
    deviations = weights.read_arrays(statistics)
    found = deviations[1] if isinstance(deviations, list | tuple) and len(deviations) == 2 else []
    # One vector a layer in the generator's order: the layer at 4 px and its to-RGB, then two and a to-RGB a block.
    convs = [torch.from_numpy(np.asarray(one, np.float32)).reshape(-1) for i, one in enumerate(found) if i % 3 != 1]
    if tuple(map(len, convs)) != sizes:
        raise WeightsError(f"{statistics.name} does not fit this generator; expected the published S_mean_std.")
    return Relevance("clip", torch.from_numpy(rows.astype(np.float32)), torch.cat(convs), sizes, published=True)
