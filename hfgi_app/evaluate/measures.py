"""Measures: numbers from pictures and readings. Pure functions; photos are uint8 S x S x 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hfgi_app import images
from hfgi_app.evaluate.report import Judge, Rebuilt
from hfgi_app.networks.wavelets import haar
from hfgi_app.types import Photo

Values = NDArray[np.float32] | NDArray[np.float64]

_TOUCH = 0.03  # of the side: so near to the person is not called background
_FINE = 0.03  # of the side: detail is finer


def rebuilt(photo: Photo, made: Photo) -> Rebuilt:
    """How far `made` is from the photo, which has its size."""
    from pytorch_msssim import ms_ssim, ssim

    truth, picture = ((images.to_tensor(one) + 1) / 2 for one in (photo, made))
    wide = [images.resize(one, 256) for one in (picture, truth)]
    low, high = haar(picture - truth)
    return Rebuilt(
        float((picture - truth).abs().mean()),
        float(ssim(picture, truth, data_range=1.0, win_size=11, win_sigma=1.5)),
        float((2 * (picture - truth)).square().mean()),
        float(ms_ssim(*wide, data_range=1.0)),
        *(float(band.abs().mean()) for band in (low, *high.chunk(3, 1))),
    )


def mean(rows: Sequence[Rebuilt]) -> Rebuilt:
    """Of each figure."""
    return Rebuilt(*(float(np.mean([getattr(row, one.name) for row in rows])) for one in fields(Rebuilt)))


def found_first(known: Values, pictures: Values, own: NDArray[np.int_]) -> float:
    """Share of the pictures M x D that are most alike to their own of the known N x D; rows of unit length, a row of
    NaN is found by none. own: M positions in `known`."""
    alike = np.nan_to_num(np.matmul(pictures, np.nan_to_num(known).T), nan=-np.inf)
    return float(np.mean((alike.argmax(axis=1) == own) & np.isfinite(alike).any(axis=1)))


def alike(known: Values, pictures: Values, own: NDArray[np.int_]) -> float:
    """Mean cosine of the pictures to their own, where a face was found."""
    return nanmean((known[own] * pictures).sum(axis=1))


def monotonic(values: Values, rising: bool) -> float:
    """Share of rows, N faces x T strengths in order, that rise (or fall) at every step; a row with NaN does not."""
    steps = np.diff(values, axis=1)
    return float(np.mean((steps > 0 if rising else steps < 0).all(axis=1)))


def background(person: Values) -> NDArray[np.bool_]:
    """Where a picture shows nothing of the person (H x W, 0..1: how sure that it does), nor touches them."""
    import cv2

    reach = 2 * round(_TOUCH * len(person)) + 1
    grown = cv2.dilate((person > 0.1).astype(np.uint8), np.ones((reach, reach), np.uint8))
    return np.asarray(grown == 0)


def head(side: int) -> NDArray[np.bool_]:
    """Where the head is in an FFHQ-aligned crop, about: side x side."""
    down, right = (np.mgrid[:side, :side] + 0.5) / side
    return np.asarray(((right - 0.5) / 0.36) ** 2 + ((down - 0.55) / 0.48) ** 2 < 1)


def change(before: Photo, after: Photo, where: NDArray[np.bool_]) -> float:
    """Mean absolute difference on [0, 1] at some places; NaN where there is none."""
    return nanmean(np.abs(after.astype(np.float64) - before)[where]) / 255


def agreement(labels: Values, readings: Values) -> Judge:
    """Correlation of readings with labels and their slope over them; NaN in either is left out."""
    both = np.isfinite(labels) & np.isfinite(readings)
    if both.sum() < 3 or np.ptp(labels[both]) == 0 or np.ptp(readings[both]) == 0:
        return Judge(float("nan"), float("nan"))
    covariance = np.cov(labels[both], readings[both])
    spread = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return Judge(float(covariance[0, 1] / spread), float(covariance[0, 1] / covariance[0, 0]))


def flow(before: Photo, after: Photo) -> Tensor:
    """From each point of `after` to where it was in `before`, 1 x 2 x S x S (x, y) in sides: dense inverse search
    (Kroeger et al. 2016)."""
    import cv2

    now, then = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (after, before))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = np.asarray(finder.calc(now, then, np.empty(0, np.float32))) / len(after)
    return torch.from_numpy(found).permute(2, 0, 1)[None]


def fine(picture: Tensor) -> Tensor:
    """What is left of N x C x S x S without its light and broad colours."""
    window = 2 * round(_FINE * picture.shape[-1]) + 1
    return picture - avg_pool2d(picture, window, 1, window // 2, count_include_pad=False)


def ratio(part: float, whole: float) -> float:
    """NaN where the whole is nothing."""
    return part / whole if abs(whole) > 1e-9 else float("nan")


def nanmean(values: Values) -> float:
    """Mean of what is known, NaN where nothing is; without a warning."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def nanmedian(values: Values) -> float:
    """Median of what is known, NaN where nothing is; without a warning."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
