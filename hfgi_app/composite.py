"""Join an edited render and the photo, so that zero is the photo itself and nothing jumps.

In photo pixels, with F the feathered crop, U crop -> photo, P the photo, R the raw render, C the coarse image and
R0, C0 the same two without any edit:

    out = (1-F) P + F [ U(R) + k m L(way) ]        L = P - U(R0), the photo's detail        k = keep

`way` says where each point of the edited face was before the edit: optical flow from C to C0, two smooth pictures of
one face, so the photo's detail travels with a turning head instead of leaving a ghost. m is 1 where the face only moved
or changed its tone, and falls to 0 where C differs in shape from C0 moved along: there the photo's detail no longer
fits and the render shows alone. U is linear, so the same sum is written around the photo,
out = P + F U(R - R0) + F (k m L(way) - L): both corrections are exactly zero where there is no edit, and all that an
edit decides is small, made at crop size and enlarged once.

Where the scene is known, F is also 0 where the person is neither before nor after the edit: a code that ages a face
shifts the light behind it too. And what a moved head uncovers shows the background, continued from around the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hfgi_app import images
from hfgi_app.types import Photo

Plane = NDArray[np.float32]

SHAPE = 0.06
"""Change of shape, in [-1, 1], that leaves 1/e of the photo's detail: 8 of 255 levels, about where a change is seen."""
TONE = 0.3
"""The same for a change of tone: greying hair and older skin keep their texture, a hat in place of hair does not."""
BROAD = 0.06
"""Sigma, in crop sides, above which a change is one of tone: half an eye's distance."""
BLUR = 0.02
"""Sigma of the shape change's blur, in crop sides: bridges what a moved edge uncovers, well below an eye's width."""
STILL = 0.004
"""Movement, in crop sides, that counts as none (half a pixel at 128): below it the flow is noise."""
FEATHER = 0.1
"""Width of the crop's soft rim, in crop sides: far from the face, wide enough that no light or colour shows a step."""
SHOULDERS = 0.72
"""From here down, in crop sides, not the background but clothes come to light, which nobody has seen."""
UNSURE = 0.2
"""A mask that changes by less, of 1, changes by chance."""
TOUCH = 0.02
"""How softly what may change around the person ends, in crop sides; and half of how far it reaches."""

_MASK_SIZE = 128  # mask and movement are smooth: a finer grid would hold nothing more
_ROWS = 128  # pixels leave the box in strips: a 40-megapixel face needs no 40-megapixel temporaries


@dataclass(frozen=True, eq=False)
class Scene:
    """What the face's square shows, n x n: how sure it is that a pixel is the person's, in the photo and in C0, 0..1;
    and n x n x 3 levels of what is behind them. Build with `of`."""

    person: Plane
    coarse: Plane
    behind: Plane

    @classmethod
    def of(cls, crop: Photo, person: Plane, coarse: Plane) -> Scene:
        """From the square as S x S pixels; both masks S x S. What is behind is guessed from around (Telea 2004)."""
        import cv2

        size = min(_MASK_SIZE, len(crop))
        small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        shown = _fitted(person, size)
        hidden = (_grown(shown) > 0.1).astype(np.uint8)
        behind = np.asarray(cv2.inpaint(small, hidden, 3, cv2.INPAINT_TELEA), dtype=np.float32)
        return cls(shown, _fitted(coarse, size), behind)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return self.person.nbytes + self.coarse.nbytes + self.behind.nbytes


@dataclass(frozen=True, eq=False)
class Canvas:
    """One photo, one face in it and its unedited render, ready for any edit of it. Build with `of_photo`, `of_face`.

    photo    uint8 H x W x 3
    box      left, top, right, bottom of the face's square in photo pixels, inside the photo
    place    2 x 3, photo coordinates (counted from the photo's corner) -> the square as 0..1
    raw      n x n x 3, levels of R0, not larger than the square in the photo
    coarse   1 x 3 x R x R in [-1, 1], C0
    lost     box height x width x 3, levels: P - U(R0)
    feather  width of the soft rim in crop sides; 0: none
    scene    what the square shows, if known
    """

    photo: Photo
    box: tuple[int, int, int, int]
    place: NDArray[np.float64]
    raw: Plane
    coarse: Tensor
    lost: Plane
    feather: float
    scene: Scene | None

    @classmethod
    def of_photo(
        cls, photo: Photo, quad: NDArray[np.float64], raw: Tensor, coarse: Tensor, scene: Scene | None = None
    ) -> Canvas:
        """The whole photo at its own size. quad as in types.Face; raw R0 and coarse C0: 1 x 3 x R x R in [-1, 1]."""
        return cls._build(photo, quad, raw, coarse, FEATHER, scene)

    @classmethod
    def of_face(cls, photo: Photo, raw: Tensor, coarse: Tensor, scene: Scene | None = None) -> Canvas:
        """The face's square alone, sampled from the photo as P x P pixels of any P: the same formula, F = 1."""
        side = photo.shape[0]
        quad = np.array([[0, 0], [0, side], [side, side], [side, 0]], dtype=np.float64)
        return cls._build(photo, quad, raw, coarse, 0.0, scene)

    @classmethod
    def _build(
        cls,
        photo: Photo,
        quad: NDArray[np.float64],
        raw: Tensor,
        coarse: Tensor,
        feather: float,
        scene: Scene | None,
    ) -> Canvas:
        import cv2

        inverse = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1))
        place = np.concatenate([inverse, -inverse @ quad[0][:, None]], axis=1)
        limit = np.array(photo.shape[1::-1])
        left, top = (int(v) for v in np.floor(quad.min(axis=0)).clip(0, limit))
        right, bottom = (int(v) for v in np.ceil(quad.max(axis=0)).clip(0, limit))
        levels = _shrink(images.to_levels(raw), float(np.linalg.norm(quad[3] - quad[0])))
        lost = photo[top:bottom, left:right].astype(np.float32)
        canvas = cls(photo, (left, top, right, bottom), place, levels, coarse.clamp(-1, 1), lost, feather, scene)
        for start, stop in canvas._strips():
            cv2.subtract(lost[start:stop], canvas._to_photo(levels, start, stop, smooth=True), lost[start:stop])
        return canvas

    @property
    def nbytes(self) -> int:
        """Memory held beside the photo itself and the scene, which one photo's canvases share."""
        return self.lost.nbytes + self.raw.nbytes + self.coarse.nbytes

    def blend(self, raw: Tensor, coarse: Tensor, keep: float = 1.0, person: Plane | None = None) -> Photo:
        """The photo with an edit in it, uint8 H x W x 3.

        raw, coarse: 1 x 3 x R x R, the edit's R(e) and C(e). keep: 0..1, how much detail stays where nothing moved.
        person: of any size, how sure it is that a pixel of C(e) is the person's, where the scene is known.
        raw = R0, coarse = C0, keep = 1 gives the photo byte for byte.
        """
        import cv2

        levels = _shrink(images.to_levels(raw), self.raw.shape[0])
        before, after = _small(self.coarse), _small(coarse)
        way = _way(before, after)
        within, bare = self._parts(len(way), person)
        change = (levels - self.raw) * _fitted(within, len(levels))[..., None]
        kept = keep * _fit(_along(before, way), after) * within
        out = self.photo.copy()
        left, top, right, _ = self.box
        for start, stop in self._strips():
            lift = self._to_photo(change, start, stop, smooth=True)
            self._move(lift, way, kept, within, start, stop)
            strip = out[top + start : top + stop, left:right]
            self._uncover(lift, strip, bare, start, stop)
            strip[:] = cv2.add(strip, lift, dtype=cv2.CV_8U)
        return out

    def _parts(self, size: int, person: Plane | None) -> tuple[Plane, Plane | None]:
        """F, n x n, and what the person has left, as far as that is any of it."""
        rim = _rim(size, self.feather)
        if self.scene is None or person is None:
            return rim, None
        photo, before, after = (_fitted(mask, size) for mask in (self.scene.person, self.scene.coarse, person))
        within = rim * _softened(_grown(np.maximum(photo, after)))
        gone = _grown(np.clip((before - after - UNSURE) / (1 - 2 * UNSURE), 0, 1).astype(np.float32))
        left = gone * (1 - after) * (np.arange(size) < SHOULDERS * size)[:, None]
        bare = within * _softened(left.astype(np.float32))
        return within, bare if bare.max() > 0 else None

    def _uncover(self, lift: Plane, strip: Photo, bare: Plane | None, start: int, stop: int) -> None:
        """Let a strip that is lifted show the background where the person has left."""
        if self.scene is None or bare is None:
            return
        share = self._to_photo(bare, start, stop, smooth=False)[..., None]
        lift += share * (self._to_photo(self.scene.behind, start, stop, smooth=True) - strip - lift)

    def _move(self, lift: Plane, way: Plane, kept: Plane, within: Plane, start: int, stop: int) -> None:
        """Add F (k m L(way) - L) to a strip."""
        import cv2

        lost = self.lost[start:stop]
        if not way.any():
            weight = self._to_photo(kept - within, start, stop, smooth=False)
            cv2.accumulateProduct(cv2.merge([weight] * 3), lost, lift)
            return
        turn = np.linalg.inv(self.place[:, :2]).T.astype(np.float32)  # sides of the square -> photo pixels
        places = self._to_photo(way @ turn, start, stop, smooth=False)
        places[..., 0] += np.arange(lost.shape[1], dtype=np.float32)
        places[..., 1] += np.arange(start, stop, dtype=np.float32)[:, None]
        x, y = cv2.split(places)
        moved = cv2.remap(self.lost, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        here, gone = cv2.split(self._to_photo(np.dstack([kept, -within]), start, stop, smooth=False))
        cv2.accumulateProduct(cv2.merge([here] * 3), moved, lift)
        cv2.accumulateProduct(cv2.merge([gone] * 3), lost, lift)

    def _strips(self) -> list[tuple[int, int]]:
        height = self.box[3] - self.box[1]
        return [(start, min(start + _ROWS, height)) for start in range(0, height, _ROWS)]

    def _to_photo(self, plane: Plane, start: int, stop: int, *, smooth: bool) -> Plane:
        """U: n x n (x 3) of the square, as the box's rows start..stop show it; bicubic where smooth, else bilinear."""
        import cv2

        left, top, right, _ = self.box
        corner = np.array([left + 0.5, top + start + 0.5, 1.0])  # OpenCV counts from the middle of a pixel
        matrix = np.column_stack([self.place[:, :2] * len(plane), self.place @ corner * len(plane) - 0.5])
        flags = (cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        size = right - left, stop - start
        shown = cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(shown, dtype=np.float32)


def _small(coarse: Tensor) -> Plane:
    """A coarse picture 1 x 3 x R x R as n x n x 3 levels, at most 128 x 128."""
    size = min(_MASK_SIZE, coarse.shape[-1])
    return images.to_levels(functional.adaptive_avg_pool2d(coarse.clamp(-1, 1), size))


def _way(before: Plane, after: Plane) -> Plane:
    """From each point of the edited square to where it was, n x n x 2 (x, y) in sides: dense inverse search flow
    (Kroeger et al. 2016), smoothed, and exactly zero where the face stood still."""
    import cv2

    grays = [cv2.cvtColor(np.rint(levels).astype(np.uint8), cv2.COLOR_RGB2GRAY) for levels in (after, before)]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(0)
    found = finder.calc(grays[0], grays[1], np.empty(0, np.float32))
    flow = cv2.GaussianBlur(found, (0, 0), 2 * len(after) / _MASK_SIZE) / len(after)
    length = np.linalg.norm(flow, axis=2, keepdims=True)
    return np.asarray(flow * np.clip(length / STILL - 1, 0, 2) / 2, dtype=np.float32)


def _along(levels: Plane, way: Plane) -> Plane:
    """Levels n x n x 3 taken along: at each point what was where it came from."""
    import cv2

    size = len(levels)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    places = columns + way[..., 0] * size, rows + way[..., 1] * size
    return np.asarray(cv2.remap(levels, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _fit(before: Plane, after: Plane) -> Plane:
    """m, n x n: 1 where the two pictures agree in shape and about in tone, towards 0 where not."""
    import cv2

    size = len(after)
    change = (after - before) / 127.5
    tone = cv2.GaussianBlur(change, (0, 0), BROAD * size)
    shape = cv2.GaussianBlur(np.abs(change - tone).mean(axis=2), (0, 0), BLUR * size)
    broad = np.abs(tone).mean(axis=2)
    return np.asarray(np.exp(-((shape / SHAPE) ** 2) - (broad / TONE) ** 2), dtype=np.float32)


def _grown(person: Plane) -> Plane:
    """A mask n x n and what is close by: hair is wider than a mask of it."""
    import cv2

    reach = 2 * round(2 * TOUCH * len(person)) + 1
    return np.asarray(cv2.dilate(person, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))))


def _softened(mask: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.GaussianBlur(mask, (0, 0), TOUCH * len(mask)), dtype=np.float32)


def _fitted(mask: Plane, size: int) -> Plane:
    """A mask of any size as size x size."""
    import cv2

    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _shrink(levels: Plane, side: float) -> Plane:
    """A render averaged down to the square's size in the photo where it is larger, so that it does not alias there."""
    import cv2

    size = round(side)
    if size >= len(levels):
        return levels
    return np.asarray(cv2.resize(levels, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _rim(size: int, feather: float) -> Plane:
    """F at size x size: 1 inside, smoothly down to exactly 0 at the outermost pixels; 1 everywhere without feather."""
    if not feather:
        return np.ones((size, size), np.float32)
    place = np.arange(size) / (size - 1)
    ramp = np.clip(np.minimum(place, 1 - place) / feather, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.outer(ramp, ramp).astype(np.float32)
