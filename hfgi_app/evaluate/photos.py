"""The faces that are measured, and changed copies of their photos. Photos are uint8 S x S x 3, aligned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hfgi_app import face
from hfgi_app.types import Photo

Rows = NDArray[np.int_]
Change = Callable[[Photo, np.random.Generator], Photo]


@dataclass(frozen=True, eq=False)
class Faces:
    """Photos N x S x S x 3, which of them are for testing, and labels of N values each, NaN where unknown."""

    photos: NDArray[np.uint8]
    test: NDArray[np.bool_]
    labels: Mapping[str, NDArray[np.float32]]

    @classmethod
    def of(cls, pictures: Tensor, test: Tensor, labels: Mapping[str, Tensor]) -> Faces:
        """From the values of a training pack; pictures N x 3 x S x S."""
        photos = pictures.permute(0, 2, 3, 1).contiguous().numpy()
        return cls(photos, test.numpy(), {name: values.numpy() for name, values in labels.items()})

    def training(self, count: int) -> Rows:
        """At most `count` training photos."""
        return spread(np.flatnonzero(~self.test), count)

    def testing(self, count: int | None = None) -> Rows:
        """The first `count` test photos, all where none is given."""
        return np.flatnonzero(self.test)[:count]


def spread(rows: Rows, count: int) -> Rows:
    """At most `count` of the rows, evenly spaced."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)])


def jitter(photo: Photo, rng: np.random.Generator) -> Photo:
    """A picture that anyone takes for the same: turned, moved, zoomed, toned a little, with some noise."""
    import cv2

    side = len(photo)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-3, 3), rng.uniform(0.96, 1.04))
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-0.02, 0.02, 2) * side
    moved = cv2.warpAffine(photo, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    toned = 255 * (moved / 255) ** rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, 3)
    return _levels(toned + rng.normal(0, 4, moved.shape))


def blur(photo: Photo, rng: np.random.Generator) -> Photo:
    """Only the rough shape of a face is left."""
    import cv2

    return np.asarray(cv2.GaussianBlur(photo, (0, 0), 0.04 * len(photo)), dtype=np.uint8)


def other_background(photo: Photo, rng: np.random.Generator) -> Photo:
    """The person before patches of other light and colour, large ones and small ones."""
    import cv2

    behind = np.zeros(photo.shape, np.float32)
    for count, light, colour in ((4, 110, 40), (24, 30, 10)):
        patches = rng.uniform(-light, light, (count, count, 1)) + rng.uniform(-colour, colour, (count, count, 3))
        behind += cv2.resize(patches.astype(np.float32), photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    shown = face.person(photo)[..., None]
    return _levels(photo * shown + (128 + behind) * (1 - shown))


def colour_cast(photo: Photo, rng: np.random.Generator) -> Photo:
    """One channel a fifth stronger, one a fifth weaker."""
    return _levels(photo * rng.permutation([0.8, 1.0, 1.2]))


def gamma(photo: Photo, rng: np.random.Generator) -> Photo:
    """Too dark or too light."""
    return _levels(255 * (photo / 255) ** rng.choice([0.6, 1.7]))


def occluder(photo: Photo, rng: np.random.Generator) -> Photo:
    """A bar of one colour, a seventh of the side thick, anywhere over the face."""
    import cv2

    side = len(photo)
    middle, angle = rng.uniform(0.35, 0.7, 2) * side, rng.uniform(0, np.pi)
    reach = 0.3 * side * np.array([np.cos(angle), np.sin(angle)])
    start, stop = ([round(float(v)) for v in point] for point in (middle - reach, middle + reach))
    colour = [int(v) for v in rng.integers(0, 256, 3)]
    return np.asarray(cv2.line(photo.copy(), start, stop, colour, round(side / 7), cv2.LINE_AA), dtype=np.uint8)


ODD: Mapping[str, Change] = {
    "background": other_background,
    "colour cast": colour_cast,
    "gamma": gamma,
    "occluder": occluder,
}


def _levels(values: Any) -> Photo:  # noqa: ANN401
    return np.asarray(np.rint(np.clip(values, 0, 255)), dtype=np.uint8)
