"""Find every face of a photo, and cut one out as the networks know faces: an upright FFHQ-aligned square.

Coordinates are (x, y) in photo pixels. A quad counts from the photo's corner: pixel (0, 0) covers 0..1.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hfgi_app import images
from hfgi_app.errors import NoFaceError, PhotoError
from hfgi_app.types import Face, Photo

Landmarks = NDArray[np.float64]
"""468 or more x 2: the points of MediaPipe's face mesh, (x, y) in photo pixels."""

Mesh = NDArray[np.float64]
"""478 x 3: the same points with depth, x right and y down from the crop's top left corner, z away from the viewer, all
in sides of the crop."""

Point = NDArray[np.float64]
Pixels = NDArray[np.int_]

# Mesh points, left and right as seen in the picture: the rim of each eye, the corners of the mouth.
_LEFT_EYE = [33, 160, 158, 133, 153, 144]
_RIGHT_EYE = [362, 385, 387, 263, 373, 380]
_LEFT_MOUTH, _RIGHT_MOUTH = 61, 291

# The photo and its overlapping quarters: left and top, size; in shares of it.
_WINDOWS = (((0, 0), 1), ((0, 0), 0.6), ((0.4, 0), 0.6), ((0, 0.4), 0.6), ((0.4, 0.4), 0.6))
_FIND_SIZE = 640  # pixels; the finders look at 128 and 192, so more would only alias
_LOOK_SIZE = 480
_CROP_SIZE = 256  # an aligned crop is all face: the mesh reads it at 192
_LOOKS = (2.0, 2.6)  # windows, in face boxes: the mesh jitters with its window, so two are averaged
_MAX_APART = 0.03  # of the face; two looks at one face differ by about 0.003, a mirage by far more
_MAX_FACES = 8  # in one look; only the face in the middle of the window is kept
_PAD = 0.3  # of the square: how far out the invented surroundings become one plain colour
_BLUR = 0.02  # of the square

_lock = threading.Lock()  # MediaPipe graphs are not thread-safe


# --- finding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Finders:
    near: Any
    far: Any
    mesh: Any


def detect(photo: Photo) -> list[Landmarks]:
    """The landmarks of every face, left to right; an empty list where there is none.

    Finds first (whole photo, then its overlapping quarters, for faces down to about a twentieth of it), then looks at
    each face closely. Offline: the networks come with the mediapipe package.
    """
    faces: list[Landmarks] = []
    with _lock:
        finders = _finders()
        for middle, side in _boxes(photo, finders):
            if any(_is_at(face, middle) for face in faces):
                continue
            face = _look(photo, middle, side, finders)
            if face is not None and not any(_is_at(other, face.mean(axis=0)) for other in faces):
                faces.append(face)
    return sorted(faces, key=lambda face: float(face[:, 0].mean()))


def choose(faces: list[Landmarks], index: int | None = None) -> Landmarks:
    """The face numbered `index`, left to right from 0; the largest where none is asked for.

    Raises NoFaceError where there is no face, or no such face.
    """
    if not faces:
        raise NoFaceError("No face was found; try a photo where the face is larger and looks towards the camera.")
    if index is None:
        return max(faces, key=lambda face: float(np.ptp(face, axis=0).prod()))
    if not 0 <= index < len(faces):
        count = (
            "is 1 face, numbered 0" if len(faces) == 1 else f"are {len(faces)} faces, numbered 0 to {len(faces) - 1}"
        )
        raise NoFaceError(f"There is no face {index}: there {count} from left to right.")
    return faces[index]


def _boxes(photo: Photo, finders: _Finders) -> Iterator[tuple[Point, float]]:
    """(middle, side) of all that may be a face, in photo pixels; the same face may come several times."""
    size = np.array(photo.shape[1::-1])
    for left_top, share in _WINDOWS:
        start, extent = (np.rint(size * v).astype(int) for v in (left_top, share))
        window = _window(photo, start, extent, _FIND_SIZE)
        for finder in (finders.far, finders.near) if share == 1 else (finders.far,):
            for found in finder.process(window).detections or ():
                box = found.location_data.relative_bounding_box
                corner, sides = np.array([box.xmin, box.ymin]), np.array([box.width, box.height])
                yield start + (corner + sides / 2) * extent, float((sides * extent).max())


def _look(photo: Photo, middle: Point, side: float, finders: _Finders) -> Landmarks | None:
    """The landmarks of the face at a place, the mean of two looks; None unless both show the same face there."""
    looks = []
    for zoom in _LOOKS:
        extent = np.rint([side * zoom, side * zoom]).astype(int)
        start = np.rint(middle - extent / 2).astype(int)
        meshes = finders.mesh.process(_window(photo, start, extent, _LOOK_SIZE)).multi_face_landmarks or ()
        faces = [start + extent * np.array([[point.x, point.y] for point in mesh.landmark]) for mesh in meshes]
        looks += [min(faces, key=lambda face: float(np.linalg.norm(face.mean(axis=0) - middle)))] if faces else []
    if len(looks) < 2 or not _is_at(looks[0], middle):
        return None
    apart = np.abs(looks[0] - looks[1]).mean() / np.ptp(looks[0])
    return np.asarray((looks[0] + looks[1]) / 2) if apart < _MAX_APART else None


def _window(photo: Photo, start: Pixels, extent: Pixels, size: int) -> Photo:
    """Part of a photo, or more than it (its rim goes on outside), brought to `size` pixels on the longer side."""
    import cv2

    limit = np.array(photo.shape[1::-1])
    (left, top), (right, bottom) = np.clip(start, 0, limit), np.clip(start + extent, 0, limit)
    before, after = np.maximum(-start, 0), np.maximum(start + extent - limit, 0)
    pads = int(before[1]), int(after[1]), int(before[0]), int(after[0])
    part = cv2.copyMakeBorder(photo[top:bottom, left:right], *pads, borderType=cv2.BORDER_REPLICATE)
    ratio = size / extent.max()
    shape = max(1, round(extent[0] * ratio)), max(1, round(extent[1] * ratio))
    return cv2.resize(part, shape, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC).astype(np.uint8)


def _is_at(face: Landmarks, place: Point) -> bool:
    return bool((np.abs(place - face.mean(axis=0)) < np.ptp(face, axis=0) / 2).all())


def mesh(crop: Photo) -> Mesh | None:
    """The face mesh of an aligned crop; None where no face is seen in it."""
    with _lock:
        window = _window(crop, np.zeros(2, int), np.array(crop.shape[1::-1]), _CROP_SIZE)
        found = _finders().mesh.process(window).multi_face_landmarks or ()
    faces = [np.array([[point.x, point.y, point.z] for point in one.landmark]) for one in found]
    return min(faces, key=lambda face: float(np.linalg.norm(face[:, :2].mean(axis=0) - 0.5)), default=None)


def person(crop: Photo) -> NDArray[np.float32]:
    """How sure it is that a pixel of an aligned crop shows the person, H x W in 0..1."""
    with _lock:
        return np.array(_segmenter().process(crop).segmentation_mask)


@functools.lru_cache(maxsize=1)
def _segmenter() -> Any:  # noqa: ANN401
    with _quiet_start():
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        segmenter = SelfieSegmentation(model_selection=0)
        segmenter.process(_cartoon())
    return segmenter


@functools.lru_cache(maxsize=1)
def _finders() -> _Finders:
    """The networks, loaded and warm. MediaPipe writes a screenful to standard error as it starts; not shown."""
    with _quiet_start():
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.face_mesh import FaceMesh

        finders = _Finders(
            near=FaceDetection(model_selection=0),
            far=FaceDetection(model_selection=1),
            # Refined: without it the eyes are off by up to 4 percent of the crop.
            mesh=FaceMesh(static_image_mode=True, max_num_faces=_MAX_FACES, refine_landmarks=True),
        )
        for finder in (finders.near, finders.far, finders.mesh):
            finder.process(_cartoon())  # found as a face, so that all they have to say is said now
    return finders


def _cartoon() -> Photo:
    """The simplest face the finders know."""
    picture = Image.new("RGB", (256, 256), "steelblue")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((70, 40, 186, 216), fill="tan")
    for x in (105, 151):
        draw.ellipse((x - 14, 105, x + 14, 121), fill="white")
        draw.ellipse((x - 7, 105, x + 7, 121), fill="black")
        draw.line((x - 18, 95, x + 18, 95), fill="black", width=5)
    draw.polygon([(128, 115), (118, 150), (138, 150)], fill="sienna")
    draw.ellipse((105, 168, 151, 184), fill="firebrick")
    return np.asarray(picture)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Standard error of the whole process to nowhere: C++ logs know no other switch. Standard output is not touched."""
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)


# --- aligning --------------------------------------------------------------------------------------------------------


def align(photo: Photo, landmarks: Landmarks, size: int) -> Face:
    """The face as the FFHQ data set aligns it (Karras et al. 2019), size x size, sampled from the photo directly."""
    corners = quad(landmarks)
    return Face(photo, corners, images.to_tensor(sample(photo, corners, size)))


def whole(photo: Photo, size: int) -> Face:
    """The face of a photo that already is an aligned crop; one of size x size reaches the crop bit for bit.

    Raises PhotoError where the photo is not square.
    """
    height, width = photo.shape[:2]
    if height != width:
        raise PhotoError(f"An aligned photo is square, this one has {width} x {height} pixels; let its face be found.")
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]], dtype=np.float64)
    return Face(photo, corners, images.to_tensor(images.scale(photo, size)))


def quad(landmarks: Landmarks) -> NDArray[np.float64]:
    """The FFHQ square around a face, 4 x 2: top left, bottom left, bottom right, top right.

    Its width follows the eye distance or the eye-mouth distance, whichever asks for more; its turn follows both.
    """
    left, right = landmarks[_LEFT_EYE].mean(axis=0), landmarks[_RIGHT_EYE].mean(axis=0)
    eyes, across = (left + right) / 2, right - left
    down = (landmarks[_LEFT_MOUTH] + landmarks[_RIGHT_MOUTH]) / 2 - eyes
    x = across - _quarter_turn(down)
    x *= max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down)) / np.linalg.norm(x)
    y, middle = _quarter_turn(x), eyes + 0.1 * down
    # FFHQ counts landmarks from the middle of a pixel, quads from its corner.
    return np.asarray(np.stack([middle - x - y, middle - x + y, middle + x + y, middle + x - y]) + 0.5)


def _quarter_turn(v: Point) -> Point:
    return np.array([-v[1], v[0]])


def sample(photo: Photo, quad: NDArray[np.float64], size: int) -> Photo:
    """The square of a photo that has these corners, upright, uint8 size x size x 3.

    A square much larger than `size` is averaged down to less than three times it, rendered at a whole multiple
    (bicubic), and brought to `size` by Lanczos, so nothing aliases. Beyond the photo it continues mirrored, then
    blurred, then in one colour.
    """
    import cv2

    side = float(np.linalg.norm(quad[3] - quad[0]))
    factor = max(1, int(side / size / 2))
    patch, corners = _patch(photo, quad, factor)
    count = size * max(1, math.ceil(side / factor / size))
    right, down = (corners[3] - corners[0]) / count, (corners[1] - corners[0]) / count
    start = corners[0] + (right + down) / 2 - 0.5  # OpenCV counts from the middle of a pixel
    matrix = np.stack([right, down, start], axis=1)
    square = cv2.warpAffine(
        patch, matrix, (count, count), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return images.scale(square.astype(np.uint8, copy=False), size)


def _patch(photo: Photo, quad: NDArray[np.float64], factor: int) -> tuple[Photo, NDArray[np.float64]]:
    """The photo around a quad, `factor` times smaller, surroundings invented where there is none; the quad in it."""
    border = 4 * factor  # what bicubic and the averaging may touch beyond the quad
    low = np.floor(quad.min(axis=0) - border).astype(int)
    high = np.ceil(quad.max(axis=0) + border).astype(int)
    limit = np.array(photo.shape[1::-1])
    start, stop = np.clip(low, 0, limit - 1), np.clip(high, 1, limit)
    inside = photo[start[1] : stop[1], start[0] : stop[0]]
    patch = np.asarray(Image.fromarray(inside).reduce(factor))
    before, after = -((low - start) // factor), -((stop - high) // factor)
    if before.any() or after.any():
        side = float(np.linalg.norm(quad[3] - quad[0])) / factor
        patch = _surround(patch, (before[1], after[1], before[0], after[0]), side)
    return patch, (quad - start) / factor + before


def _surround(patch: Photo, pads: tuple[int, int, int, int], side: float) -> Photo:
    """More picture around a patch (top, bottom, left, right): mirrored, then blurred, then its middle colour.

    The FFHQ recipe, but for one thing: the photo's own pixels stay as they are.
    """
    import cv2

    wide = cv2.copyMakeBorder(patch, *pads, borderType=cv2.BORDER_REFLECT)
    width = 2 * round(2.5 * _BLUR * side) + 1  # stackBlur's for this sigma; its time does not grow with it
    blurred = cv2.stackBlur(wide, (width, width)).astype(np.float32)
    rows, columns = (
        _outside(n, b, a) / (_PAD * side) for n, b, a in zip(patch.shape, pads[::2], pads[1::2], strict=False)
    )
    away = np.minimum(np.maximum(rows[:, None], columns[None, :]), 1)[..., None]
    invented = wide + (blurred - wide) * np.minimum(3 * away, 1)
    invented += (np.median(patch[::8, ::8], axis=(0, 1)).astype(np.float32) - invented) * away
    return np.asarray(np.rint(invented), dtype=np.uint8)


def _outside(length: int, before: int, after: int) -> NDArray[np.float32]:
    """Distance from a run of `length` pixels, for each pixel of the longer run around it."""
    place = np.arange(-before, length + after, dtype=np.float32)
    return np.maximum(np.maximum(-place, place - (length - 1)), 0)
