"""From single readings to the figures of a report. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hfgi_app.evaluate import measures
from hfgi_app.evaluate.judges import Reading
from hfgi_app.evaluate.report import Leakage, Look, Person, Rebuilt, Response


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture of one edited face.

    place   the face's position among the test faces
    slider  its name, at `share` of its range; no name and 0: the face unedited
    drift   how much the background differs from the unedited picture's; stray: from the photo's
    """

    place: int
    slider: str
    share: float
    reading: Reading
    drift: float
    stray: float


@dataclass(eq=False)
class Seen:
    """All that was seen of one method in one look: every face rebuilt, some edited."""

    rebuilt: list[Rebuilt] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)

    def at(self, slider: str, share: float) -> list[Shot]:
        """The shots of one edit, face by face; "" and 0: of no edit."""
        return [shot for shot in self.shots if (shot.slider, shot.share) == (slider, share)]

    def shares(self, slider: str) -> list[float]:
        """The shares at which a slider was seen, ascending."""
        return sorted({shot.share for shot in self.shots if shot.slider == slider})

    def values(self, slider: str, share: float, column: int) -> NDArray[np.float64]:
        """One attribute, face by face."""
        return np.array([shot.reading.values[column] for shot in self.at(slider, share)])


def look(seen: Seen, base: Seen, photos: Sequence[Reading], names: Sequence[str], targets: Mapping[str, str]) -> Look:
    """One method's figures.

    base: the bare e4e edit; photos: readings of the test photos; names: of the attributes; targets: which of them a
    slider is meant to change.
    """
    known = np.array([one.identity for one in photos])
    sliders = list(dict.fromkeys(shot.slider for shot in seen.shots if shot.slider))
    end = max((shot.share for shot in seen.shots), default=0.0)
    edited = [shot for shot in seen.shots if shot.slider]
    far = [shot for shot in edited if abs(shot.share) == end]
    lost = [np.isnan(shot.reading.values).any() for shot in edited]
    return Look(
        rebuilt=measures.mean(seen.rebuilt),
        person=_person(known, seen.readings, range(len(known))),
        person_edited=_person(known, [shot.reading for shot in far], [shot.place for shot in far]),
        lost=measures.nanmean(np.array(lost, dtype=float)),
        sliders={name: response(seen, base, name, target, names) for name, target in targets.items()},
        effects={name: _effects(seen, name, end, photos, names) for name in sliders},
        leakage={name: _leakage(seen, base, name) for name in sliders},
    )


def response(seen: Seen, base: Seen, slider: str, target: str, names: Sequence[str]) -> Response:
    """What a slider does to its target. The right order is that of the bare e4e edit's two ends."""
    column, shares = names.index(target), seen.shares(slider)
    still = seen.values("", 0.0, column)
    values = {0.0: still} | {share: seen.values(slider, share, column) for share in shares}
    whole, reference = (
        measures.nanmedian(one.values(slider, shares[-1], column) - one.values(slider, shares[0], column))
        for one in (seen, base)
    )
    return Response(
        measured=target,
        shares=tuple(shares),
        changes=tuple(measures.nanmedian(values[share] - still) for share in shares),
        monotonic=measures.monotonic(np.stack([values[share] for share in sorted(values)], axis=1), reference > 0),
        whole=whole,
        ratio=measures.ratio(whole, reference),
    )


def _person(known: NDArray[np.float32], readings: Sequence[Reading], places: Sequence[int]) -> Person:
    if not readings:
        return Person(float("nan"), float("nan"))
    pictures, own = np.array([one.identity for one in readings]), np.array(places)
    return Person(measures.found_first(known, pictures, own), measures.alike(known, pictures, own))


def _effects(
    seen: Seen, slider: str, share: float, photos: Sequence[Reading], names: Sequence[str]
) -> dict[str, float]:
    """Median change of every attribute, in standard deviations of the photos."""
    found = {}
    for column, name in enumerate(names):
        usual = np.array([one.values[column] for one in photos])
        change = measures.nanmedian(seen.values(slider, share, column) - seen.values("", 0.0, column))
        found[name] = measures.ratio(change, float(usual[np.isfinite(usual)].std()))
    return found


def _leakage(seen: Seen, base: Seen, slider: str) -> Leakage:
    def mean(one: Seen, what: str) -> float:
        return measures.nanmean(np.array([getattr(shot, what) for shot in one.shots if shot.slider == slider]))

    return Leakage(*(measures.ratio(mean(seen, what), mean(base, what)) for what in ("drift", "stray")))
