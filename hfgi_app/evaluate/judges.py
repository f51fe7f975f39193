"""Judges: what a picture of a face shows, read by means that no network here was trained with.

Turn and expression come from the face mesh (`shape`). Age, glasses, hair and beard come from ridge regressions on
gradients and colours, fitted to the labelled training photos: they understate, by the slope that is reported with them.
Who it is comes from the gradients of the inner face alone, laid over the average face: no hair, clothes or background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfgi_app import face, images
from hfgi_app.errors import NoFaceError
from hfgi_app.evaluate import measures
from hfgi_app.evaluate.photos import Faces, Rows, blur, jitter
from hfgi_app.evaluate.report import Judge, Recognition
from hfgi_app.evaluate.shape import MEASURES, Shapes
from hfgi_app.types import Photo

LEARNT = {"age": "age_est", "glasses": "glasses", "hair": "hair_L", "beard": "facial_hair_score"}
"""What is learnt from labels, and the label it is called by in a training pack."""
UNITS = {"yaw": "°", "pitch": "°", "smile": "SD", "age": "yr", "hair": "L*"}

_REFERENCES = 300  # photos that decide what is usual
_PUPILS = 2000  # photos that are learnt from, at most
_LEAST = 50  # fewer say nothing about what is usual, and teach nothing
_SIDE = 64  # of the pictures that gradients are taken from
_COLOURS = 16  # of the one that colours are taken from
_PENALTY = 1e4

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reading:
    """One picture: values K in the order of `Judges.names`, identity of unit length; NaN where no face was found."""

    values: NDArray[np.float64]
    identity: Vector


class Judges:
    """Fitted to the faces at hand; reads any picture of an aligned face.

    Raises NoFaceError where the photos show no faces.
    """

    def __init__(self, faces: Faces) -> None:
        rows = faces.training(_REFERENCES)
        photos = faces.photos[rows] if len(rows) >= _LEAST else faces.photos
        both = [face.mesh(photo) for photo in (*photos, *photos[:, :, ::-1])]
        meshes = [mesh for mesh in both if mesh is not None]
        if len(meshes) < len(both) / 2:
            raise NoFaceError("Hardly a face was found in these pictures; give aligned photos of faces.")
        self._shapes = Shapes.of(meshes)
        self._inner = _Inner(self._shapes.average)
        known = [self._inner(photo, mesh) for photo, mesh in zip(photos, both, strict=False) if mesh is not None]
        self._middle, self._spread = np.mean(known, axis=0), np.std(known, axis=0) + 1e-6
        self._learnt = _learnt(faces)
        self.names = (*MEASURES, *self._learnt)

    def read(self, picture: Photo) -> Reading:
        """uint8 S x S x 3, aligned."""
        mesh = face.mesh(picture)
        if mesh is None:
            return Reading(np.full(len(self.names), np.nan), np.full_like(self._middle, np.nan))
        looks = _looks(picture)[None]
        learnt = [float(model.predict(looks)[0]) for model in self._learnt.values()]
        identity = (self._inner(picture, mesh) - self._middle) / self._spread
        values = np.array([*self._shapes.measure(mesh).values(), *learnt])
        return Reading(values, identity / max(float(np.linalg.norm(identity)), 1e-9))

    def agree(self, faces: Faces, rows: Rows, readings: Sequence[Reading]) -> dict[str, Judge]:
        """How the readings of the photos at `rows` agree with their labels, where there are any."""
        labels = {name: faces.labels.get(LEARNT.get(name, name)) for name in self.names}
        columns = dict(zip(self.names, np.array([one.values for one in readings]).T, strict=True))
        known = {name: label[rows] for name, label in labels.items() if label is not None}
        return {name: measures.agreement(label, columns[name]) for name, label in known.items()}

    def recognise(self, photos: NDArray[np.uint8], readings: Sequence[Reading]) -> Recognition:
        """How well photos are told apart: by copies that are hardly changed, and by copies blurred beyond knowing."""
        rng = np.random.default_rng(0)
        known, own = np.array([one.identity for one in readings]), np.arange(len(readings))
        copies = [np.array([self.read(made(photo, rng)).identity for photo in photos]) for made in (jitter, blur)]
        return Recognition(*(measures.found_first(known, copy, own) for copy in copies))


class _Inner:
    """Gradients of the inner face, laid over the average face; grey outside the mesh's outline."""

    def __init__(self, average: NDArray[np.float64]) -> None:
        import cv2

        flat = average[:, :2] * [1, -1]
        low, high = flat.min(axis=0), flat.max(axis=0)
        self._places = ((flat - (low + high) / 2) / (high - low).max() * (_SIDE - 1) + _SIDE / 2).astype(np.float32)
        outline = np.zeros((_SIDE, _SIDE), np.float32)
        cv2.fillConvexPoly(outline, cv2.convexHull(self._places.astype(np.int32)), [1.0])
        self._inside = cv2.GaussianBlur(outline, (0, 0), 2)

    def __call__(self, picture: Photo, mesh: face.Mesh) -> Vector:
        import cv2

        small = images.scale(picture, 2 * _SIDE)  # the inner face then is about _SIDE wide: nothing aliases
        points = np.column_stack([mesh[: len(self._places), :2] * len(small), np.ones(len(self._places))])
        matrix = np.linalg.lstsq(points, self._places, rcond=None)[0].T
        shown = cv2.warpAffine(small, matrix, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
        grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY).astype(np.float32)
        usual = np.average(grey, weights=self._inside)
        return _gradients(np.asarray(np.rint(usual + (grey - usual) * self._inside), dtype=np.uint8))


def _gradients(grey: NDArray[np.uint8]) -> Vector:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of a picture of 64 x 64."""
    import cv2

    return np.asarray(cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9).compute(grey)).ravel()


def _looks(picture: Photo) -> Vector:
    """Gradients of the whole crop, and its colours in CIELAB."""
    import cv2

    colours = cv2.cvtColor(images.scale(picture, _COLOURS), cv2.COLOR_RGB2LAB).astype(np.float32).ravel()
    return np.concatenate(
        [
            _gradients(np.asarray(cv2.cvtColor(images.scale(picture, _SIDE), cv2.COLOR_RGB2GRAY), dtype=np.uint8)),
            colours,
        ]
    )


def _learnt(faces: Faces) -> dict[str, Any]:
    """Ridge regressions by name, on training photos, their mirror images and blurred copies: renders are softer than
    photos, and that must not read as young."""
    import cv2

    rows = faces.training(_PUPILS)
    labels = {name: faces.labels[label][rows] for name, label in LEARNT.items() if label in faces.labels}
    labels = {name: values for name, values in labels.items() if np.isfinite(values).sum() >= _LEAST}
    if not labels:
        return {}
    rng = np.random.default_rng(0)
    photos = faces.photos[rows]
    soft = [cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.002, 0.016) * len(photo)) for photo in photos]
    looks = np.array([[_looks(photo) for photo in copies] for copies in (photos, photos[:, :, ::-1], soft)])
    return {name: _ridge(looks, values) for name, values in labels.items()}


def _ridge(looks: NDArray[np.float32], values: NDArray[np.float32]) -> Any:  # noqa: ANN401
    """looks: copies x N x features; values: N, NaN where unknown."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.isfinite(values)
    pupils = np.concatenate(looks[:, known])
    return make_pipeline(StandardScaler(), Ridge(_PENALTY)).fit(pupils, np.tile(values[known], len(looks)))
