"""What was measured, as plain values, and as text.

Ratios and shares are fractions of one. NaN stands for what could not be measured; JSON says null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Rebuilt:
    """How far a rebuilt face is from its photo: mae, ssim (Gaussian window 11, sigma 1.5) and the bands on [0, 1], l2
    on [-1, 1], ms_ssim at 256 px; ll, lh, hl, hh: mean absolute error of the orthonormal Haar bands, the first letter
    being across, the second down."""

    mae: float
    ssim: float
    l2: float
    ms_ssim: float
    ll: float
    lh: float
    hl: float
    hh: float


@dataclass(frozen=True)
class Person:
    """found: share of pictures that find the person's own photo first among all test faces; alike: mean cosine."""

    found: float
    alike: float


@dataclass(frozen=True)
class Response:
    """What one slider does to what it is meant to change.

    measured   the attribute's name
    shares     of the slider's range; changes: median change of the attribute at each, against no edit
    monotonic  share of faces where all measured values come in the right order
    whole      median change from one edit to the opposite one, at 60 % of the range
    ratio      of `whole` to that of the bare e4e edit
    """

    measured: str
    shares: tuple[float, ...]
    changes: tuple[float, ...]
    monotonic: float
    whole: float
    ratio: float


@dataclass(frozen=True)
class Leakage:
    """How much an edit changes the background, as a share of what the bare e4e edit changes there.

    drift: against the method's own unedited picture; stray: against the photo, what the method rebuilds badly included.
    """

    drift: float
    stray: float


@dataclass(frozen=True)
class Look:
    """One way of looking at a method: its raw render, or composited with the photo.

    lost     share of edited pictures in which no face is seen any more
    sliders  by slider, those whose effect has a measure
    effects  by slider and attribute, change at +60 % in standard deviations of the test faces
    leakage  by slider

    Sliders whose effect has no measure are looked at raw alone.
    """

    rebuilt: Rebuilt
    person: Person
    person_edited: Person
    lost: float
    sliders: Mapping[str, Response]
    effects: Mapping[str, Mapping[str, float]]
    leakage: Mapping[str, Leakage]


@dataclass(frozen=True)
class Odd:
    """Rebuilding photos unlike those trained on: MAE, and its ratio to the same faces' plain photos."""

    mae: float
    ratio: float


@dataclass(frozen=True)
class Cost:
    """Median milliseconds to open an aligned photo, to consult, to render a new edit; parameters beside generator and
    encoder; bytes kept for one photo beside its inversion."""

    open: float
    consult: float
    render: float
    parameters: int
    detail_bytes: int


@dataclass(frozen=True)
class Measured:
    """One method. alignment: L1 of its aligned map to the true one over the unaligned map's, None without alignment."""

    raw: Look
    composited: Look
    odd: Mapping[str, Odd]
    alignment: float | None
    cost: Cost


@dataclass(frozen=True)
class Judge:
    """Agreement with the labels of the test photos: correlation, and what it reads of a difference of 1."""

    correlation: float
    slope: float


@dataclass(frozen=True)
class Recognition:
    """How often a photo is found first by a copy of itself: jittered (should be 1), blurred (should not)."""

    jittered: float
    blurred: float


@dataclass(frozen=True)
class Report:
    """Everything `evaluate` measures. faces: rebuilt; edited: how many of them were edited."""

    model: str
    size: int
    faces: int
    edited: int
    torch: str
    threads: int
    judges: Mapping[str, Judge]
    recognition: Recognition
    methods: Mapping[str, Measured]


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    median: float
    p90: float


@dataclass(frozen=True)
class Play:
    """One method live: the first edit of an opened photo (milliseconds), then slider frames in process."""

    first_edit: float
    preview: Timing
    whole: Timing


@dataclass(frozen=True)
class Bench:
    """start: seconds from launching Python to loaded models; open_first, open: milliseconds for the first photo of a
    process, which also loads the face finders, and for later ones; photo: its width and height."""

    model: str
    torch: str
    threads: int
    photo: tuple[int, int]
    preview: int
    frames: int
    start: float
    open_first: float
    open: Timing
    methods: Mapping[str, Play]


def to_json(report: Report | Bench) -> dict[str, Any]:
    """Ready for json.dumps."""
    found: dict[str, Any] = _plain(asdict(report))
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
