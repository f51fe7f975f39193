"""How far a prompt's direction may be followed on one photo, and what an edit changed beside what was asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from hfgi_app.directions.styleclip.words import Words
from hfgi_app.errors import RecipeError
from hfgi_app.types import Curve

CLEAR = 0.06
"""Root mean square change of a picture in [-1, 1] that is plain to see and still natural: strength 1."""
END = 1.5
"""Strength at the end of a slider: so many times that change."""
ALPHAS = (0.5, 1.0, 2.0, 3.5, 6.0, 10.0)
"""Tried on either side; the published strengths end at 10."""
SIDE = 64
"""Pictures are compared at so many pixels: grain does not count."""

NOTHING = 1e-3
"""A shorter way between two embeddings is no change."""
WORTH_SAYING = 0.15
PROBES = {
    "smile": ("serious face", "smiling face"),
    "open mouth": ("face with closed mouth", "face with open mouth"),
    "wide eyes": ("face with narrow eyes", "face with wide eyes"),
    "glasses": ("face without glasses", "face with glasses"),
    "age": ("young face", "old face"),
    "femininity": ("man", "woman"),
    "facial hair": ("face without a beard", "face with a beard"),
    "light hair": ("face with dark hair", "face with light hair"),
    "baldness": ("face with hair", "bald face"),
    "tan": ("face with pale skin", "face with tanned skin"),
    "turn to the right": ("face looking left", "face looking right"),
    "look up": ("face looking down", "face looking up"),
    "light background": ("face with a dark background", "face with a light background"),
}
"""What may change unasked, each from one phrase to another."""


def probes(words: Words) -> list[tuple[str, Tensor]]:
    """Unit vectors E of the probes whose words the text model knows."""
    found = []
    for label, phrases in PROBES.items():
        with suppress(RecipeError):
            neutral, target = map(words.text, phrases)
            found.append((label, F.normalize(target - neutral, dim=0)))
    return found


def curve(picture: Callable[[float], Tensor]) -> Curve:
    """Strengths from -END to END -> alpha, so that equal strengths change this photo's picture equally.

    picture: of an alpha, 1 x 3 x R x R in [-1, 1].
    """
    plain = _small(picture(0.0))

    def change(alpha: float) -> float:
        return float((_small(picture(alpha)) - plain).square().mean().sqrt())

    half, down = _reached(lambda alpha: change(-alpha))
    clear, up = _reached(change)
    return Curve((-END, -1.0, 0.0, 1.0, END), (-down, -half, 0.0, clear, up))


def _reached(change: Callable[[float], float]) -> tuple[float, float]:
    """Alphas at which the change is `CLEAR` and `END` times that; where it never is, the largest tried and half of
    that."""
    tried = [(0.0, 0.0)]
    for alpha in ALPHAS:
        tried.append((alpha, max(change(alpha), tried[-1][1])))
        if tried[-1][1] >= END * CLEAR:
            break
    end = _crossing(tried, END * CLEAR)
    return min(_crossing(tried, CLEAR), end / END), end


def _crossing(tried: list[tuple[float, float]], wanted: float) -> float:
    """The alpha at which the change is as wanted, linear between those tried; the last where it never is."""
    for (alpha, low), (further, high) in pairwise(tried):
        if low < wanted <= high:
            return alpha + (further - alpha) * (wanted - low) / (high - low)
    return tried[-1][0]


def _small(picture: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(picture.clamp(-1, 1), min(SIDE, picture.shape[-1]))
