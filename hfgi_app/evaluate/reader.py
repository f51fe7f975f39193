"""Attributes of a face in the units of their labels, for those who measure with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hfgi_app.evaluate.judges import Judges
from hfgi_app.evaluate.photos import Faces, spread
from hfgi_app.types import Photo

READ = 300
"""Test photos that decide how much a judge understates, at most."""
LEAST_SLOPE = 0.1
"""A judge that reads less of a difference reads nothing."""


def reader(faces: Faces) -> Callable[[Photo], Mapping[str, float]]:
    """Reads aligned pictures. Learnt judges understate: their readings are divided by the slope that they show on the
    test photos of `faces`. Attributes whose judge has no slope there are left out.

    Raises NoFaceError where the photos show no faces.
    """
    judges = Judges(faces)
    rows = spread(faces.testing(), READ)
    agreed = judges.agree(faces, rows, [judges.read(photo) for photo in faces.photos[rows]])
    slopes = {name: one.slope for name, one in agreed.items() if one.slope > LEAST_SLOPE}

    def read(picture: Photo) -> Mapping[str, float]:
        values = dict(zip(judges.names, judges.read(picture).values.tolist(), strict=True))
        return {name: values[name] / slope for name, slope in slopes.items()}

    return read
