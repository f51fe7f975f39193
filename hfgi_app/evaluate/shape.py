"""What the shape of a face mesh says: how the head is turned, how the face is moved. Measures of this project.

Inside, axes are right-handed: x right, y up, z towards the viewer. A head is turned by a rotation and scaled against an
average face that is mirror-symmetric, because photos and their mirror images went into it alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfgi_app.face import Mesh

MEASURES = ("yaw", "pitch", "smile", "mouth_open", "eyes_open")

_SKIN = 468  # the mesh's later points are irises: they follow the gaze, not the head
_VIEW = np.array([1.0, -1.0, -1.0])
_ROUNDS = 3  # the average shape changes by less than a thousandth in the third
_EYES = ((33, 133, 159, 145), (263, 362, 386, 374))  # of each eye: corners, lids
_MOUTH = (61, 291, 13, 14)  # corners, inner lips
_NOSE = 2  # its foot

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """What is usual among the photos that a smile is measured against: of its four signs, and of their sum."""

    middle: Points
    spread: Points
    unit: float


@dataclass(frozen=True)
class Shapes:
    """The average face, 468 x 3, and the usual expression; build with `of`."""

    average: Points
    scale: Scale

    @classmethod
    def of(cls, meshes: Sequence[Mesh]) -> Shapes:
        """From meshes of photos and of their mirror images; they decide what no turn and one unit of smile are."""
        faces = [_points(mesh) for mesh in meshes]
        average = np.mean(faces, axis=0)
        for _ in range(_ROUNDS):
            average = np.mean([frontal(average, face)[1] for face in faces], axis=0)
        signs = np.array([_smile_signs(frontal(average, face)[1]) for face in faces])
        middle, spread = signs.mean(axis=0), signs.std(axis=0) + 1e-9
        return cls(average, Scale(middle, spread, float(((signs - middle) / spread).mean(axis=1).std()) + 1e-9))

    def measure(self, mesh: Mesh) -> dict[str, float]:
        """yaw (degrees, + = nose to the right of the picture), pitch (degrees, + = up), smile (standard deviations of
        the reference photos: mouth width, corner lift, lip gap, closeness of nose and mouth), mouth_open (inner lip
        gap / mouth width), eyes_open (lid gap / eye width); the last three with the head turned to the front."""
        rotation, face = frontal(self.average, _points(mesh))
        scale = self.scale
        smile = ((_smile_signs(face) - scale.middle) / scale.spread).mean() / scale.unit
        left, right, upper, lower = face[list(_MOUTH)]
        mouth = abs(upper[1] - lower[1]) / np.linalg.norm(right - left)
        eyes = np.mean([_open(face[list(eye)]) for eye in _EYES])
        return dict(zip(MEASURES, (*angles(rotation), float(smile), float(mouth), float(eyes)), strict=True))


def frontal(average: Points, face: Points) -> tuple[Points, Points]:
    """The rotation that turns the average to a face, and the face turned back and scaled to it (Kabsch 1976)."""
    left, strength, right = np.linalg.svd(face.T @ average)
    handed = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * handed) @ right
    scale = (strength * handed).sum() / np.square(average).sum()
    return rotation, face @ rotation / scale


def angles(rotation: Points) -> tuple[float, float]:
    """Yaw and pitch in degrees of a rotation 3 x 3."""
    yaw = np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))
    return float(yaw), float(np.degrees(np.arcsin(np.clip(rotation[1, 2], -1, 1))))


def _points(mesh: Mesh) -> Points:
    points = mesh[:_SKIN] * _VIEW
    return np.asarray(points - points.mean(axis=0))


def _smile_signs(face: Points) -> Points:
    """Mouth width, corner lift, lip gap and closeness of the mouth's corners to the nose, in outer-eye distances."""
    eyes = np.linalg.norm(face[_EYES[1][0]] - face[_EYES[0][0]])
    left, right, upper, lower = face[list(_MOUTH)]
    corners, lips = (left + right) / 2, (upper + lower) / 2
    signs = (
        np.linalg.norm(right - left),
        corners[1] - lips[1],
        abs(upper[1] - lower[1]),
        corners[1] - face[_NOSE, 1],
    )
    return np.asarray(np.array(signs) / eyes)


def _open(eye: Points) -> float:
    outer, inner, upper, lower = eye
    return float(np.linalg.norm(upper - lower) / np.linalg.norm(outer - inner))
