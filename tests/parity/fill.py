"""Seeded weights in the published layouts of HFGI and StyleRes, and the synthetic picture they are tried on."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]
FOLDER = Path(__file__).parent


def normal(deviation: float) -> Draw:
    return lambda rng, shape: deviation * rng.standard_normal(shape)


def fan_in_normal(deviation: Callable[[int], float]) -> Draw:
    """The deviation follows from the number of inputs of one output."""
    return lambda rng, shape: deviation(math.prod(shape[1:])) * rng.standard_normal(shape)


def uniform(low: float, high: float) -> Draw:
    return lambda rng, shape: low + (high - low) * rng.random(shape)


def low_pass(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16


def half_low_pass(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return low_pass(rng, shape) / 4


BATCH_NORMS = r"(input_layer\.1|conv_layer1\.1|shortcut_layer\.1|res_layer\.0)"
CONVOLUTIONS = r"(input_layer\.0|conv_layer1\.0|shortcut_layer\.0|res_layer\.1|res_layer\.3|fc1|fc2)"
# The first rule whose pattern is found in the published name draws its values.
RULES: tuple[tuple[str, Draw], ...] = (
    (r"num_batches_tracked$", lambda rng, shape: np.zeros(shape, np.int64)),
    (r"running_mean$", normal(0.05)),
    (r"running_var$", uniform(0.5, 1.5)),
    (r"^latent_avg$", normal(0.2)),
    (r"resample_filter$", half_low_pass),
    (r"mapping\.w_avg$", normal(0.2)),
    (r"mapping\.fc\d+\.weight$", normal(100)),
    (r"mapping\.fc\d+\.bias$", normal(1)),
    (r"noise_const$", normal(1)),
    (r"noise_strength$", uniform(0.05, 0.15)),
    (r"affine\.weight$", normal(1)),
    (r"affine\.bias$", lambda rng, shape: np.ones(shape)),
    (r"torgb\.weight$", normal(0.12)),
    (r"torgb\.bias$", normal(0.02)),
    (r"b\d+\.conv[01]\.weight$", normal(1)),
    (r"b\d+\.conv[01]\.bias$", normal(0.1)),
    (r"b4\.const$", normal(1)),
    (r"modify_feature_.*res_layer\.2\.weight$", fan_in_normal(lambda fan_in: 0.3 / math.sqrt(fan_in))),
    (r"modify_feature_.*weight$", fan_in_normal(lambda fan_in: 1 / math.sqrt(fan_in))),
    (r"modify_feature_.*bias$", normal(0.1)),
    (r"condition_(scale|shift)3\.0\.weight$", normal(1)),
    (r"condition_(scale|shift)3\.2\.weight$", normal(0.6)),
    (r"condition_(scale|shift)3\.[02]\.bias$", normal(0.1)),
    (r"\.kernel$", low_pass),
    (r"noises\.noise_\d+$", normal(1)),
    (r"\.noise\.weight$", uniform(0.05, 0.15)),
    (r"modulation\.weight$", normal(1)),
    (r"modulation\.bias$", lambda rng, shape: np.ones(shape)),
    (r"decoder\.style\.\d+\.weight$", normal(100)),
    (r"decoder\.style\.\d+\.bias$", normal(1)),
    (r"to_rgb(1|s\.\d+)\.conv\.weight$", normal(0.25)),
    (r"to_rgb(1|s\.\d+)\.bias$", normal(0.02)),
    (r"decoder\.(conv1|convs\.\d+)\.conv\.weight$", normal(1)),
    (r"activate\.bias$", normal(0.1)),
    (r"decoder\.input\.input$", normal(1)),
    (r"(input_layer\.2|res_layer\.2|conv_layer1\.2)\.weight$", uniform(0.15, 0.35)),
    (r"res_layer\.4\.weight$", uniform(0.3, 0.5)),
    (BATCH_NORMS + r"\.weight$", uniform(0.8, 1.2)),
    (r"(" + BATCH_NORMS + r"|res_layer\.4)\.bias$", normal(0.1)),
    (r"styles\.\d+\.convs\.\d+\.weight$", fan_in_normal(lambda fan_in: math.sqrt(2 / fan_in))),
    (r"styles\.\d+\.convs\.\d+\.bias$", normal(0.1)),
    (r"styles\.\d+\.linear\.weight$", normal(0.8)),
    (r"styles\.\d+\.linear\.bias$", normal(0.1)),
    (r"latlayer[12]\.weight$", fan_in_normal(lambda fan_in: 1 / math.sqrt(fan_in))),
    (r"latlayer[12]\.bias$", normal(0.1)),
    (CONVOLUTIONS + r"\.weight$", fan_in_normal(lambda fan_in: 1 / math.sqrt(fan_in))),
)


def keys(layout: str = "hfgi") -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and CRC-32 of every tensor of a published layout, hfgi or styleres, by its published name."""
    lines = (line.split() for line in (FOLDER / f"{layout}_ffhq1024_keys.txt").read_text().splitlines())
    return {name: (tuple(int(n) for n in shape.split("x") if n != "-"), int(crc, 16)) for name, shape, crc in lines}


def state(layout: str) -> dict[str, Tensor]:
    """Every tensor of a published layout with its seeded values; they are those that the figures were made with."""
    filled = {}
    for name, (shape, crc) in keys(layout).items():
        array = values(name, shape)
        assert zlib.crc32(array) == crc, f"the seeded values of {name} differ from those the figures were made with"
        filled[name] = torch.from_numpy(np.asarray(array))
    return filled


def values(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The seeded values of one tensor, float32 (batch counters: int64)."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    draw = next(draw for pattern, draw in RULES if re.search(pattern, name))
    drawn = draw(rng, shape)
    return drawn if drawn.dtype == np.int64 else drawn.astype(np.float32)


def picture() -> Tensor:
    """1 x 3 x 256 x 256 in [-1, 1]: waves and three rectangles."""
    y, x = np.mgrid[0:256, 0:256] / 256 + 0.5 / 256
    p = 2 * np.pi
    red = 0.5 * np.sin(p * (1.5 * x + 0.5 * y)) + 0.3 * np.cos(3 * p * y)
    green = 0.5 * np.cos(p * (0.7 * x - 1.2 * y)) + 0.25 * np.sin(5 * p * x * y)
    blue = 0.45 * np.sin(1.3 * p * (x**2 + y)) - 0.2 * np.cos(4 * p * x)
    rgb = np.stack([red, green, blue])
    rgb[:, 64:112, 48:96] = np.reshape([0.7, -0.3, 0.1], (3, 1, 1))
    rgb[:, 64:112, 160:208] = np.reshape([-0.6, 0.2, 0.5], (3, 1, 1))
    rgb[:, 168:192, 88:168] = np.reshape([0.8, -0.5, -0.4], (3, 1, 1))
    return torch.from_numpy(np.clip(rgb, -1, 1).astype(np.float32))[None]
