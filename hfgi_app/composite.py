"""Join an edited render and the photo, so that zero is the photo itself and nothing jumps.

In photo pixels, with F the feathered crop, U crop -> photo, P the photo, R the raw render, C the coarse image and
R0, C0 the same two without any edit:

    out = (1-F) P + F [ U(R) + k m (P - U(R0)) ]          m = exp(-(blur|C - C0| / TAU)^2)        k = keep

Where the edit moved nothing, m = 1 and the photo's own pixels stay, at full resolution; where it moved something the
photo's detail no longer fits, m = 0 and the render shows alone. U is linear, so the same sum is written around the
photo, out = P + F U(R - R0) + F (k m - 1) (P - U(R0)): both corrections are exactly zero where there is no edit, and
all that an edit decides is small, made at crop size and enlarged once.
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

TAU = 0.06
"""Coarse change, in [-1, 1], that leaves 1/e of the photo's detail: 8 of 255 levels, about where a change is seen."""
BLUR = 0.02
"""Sigma of the change's blur, in crop sides: bridges a moved edge's old and new place, well below an eye's width."""
FEATHER = 0.1
"""Width of the crop's soft rim, in crop sides: far from the face, wide enough that no light or colour shows a step."""

_MASK_SIZE = 128  # the mask is blurred by 2.5 pixels of this, so a finer one would hold nothing more
_ROWS = 128  # pixels leave the box in strips: a 40-megapixel face needs no 40-megapixel temporaries


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
    """

    photo: Photo
    box: tuple[int, int, int, int]
    place: NDArray[np.float64]
    raw: Plane
    coarse: Tensor
    lost: Plane
    feather: float

    @classmethod
    def of_photo(cls, photo: Photo, quad: NDArray[np.float64], raw: Tensor, coarse: Tensor) -> Canvas:
        """The whole photo at its own size. quad as in types.Face; raw R0 and coarse C0: 1 x 3 x R x R in [-1, 1]."""
        return cls._build(photo, quad, raw, coarse, FEATHER)

    @classmethod
    def of_face(cls, photo: Photo, raw: Tensor, coarse: Tensor) -> Canvas:
        """The face's square alone, sampled from the photo as P x P pixels of any P: the same formula, F = 1."""
        side = photo.shape[0]
        quad = np.array([[0, 0], [0, side], [side, side], [side, 0]], dtype=np.float64)
        return cls._build(photo, quad, raw, coarse, 0.0)

    @classmethod
    def _build(cls, photo: Photo, quad: NDArray[np.float64], raw: Tensor, coarse: Tensor, feather: float) -> Canvas:
        import cv2

        inverse = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1))
        place = np.concatenate([inverse, -inverse @ quad[0][:, None]], axis=1)
        limit = np.array(photo.shape[1::-1])
        left, top = (int(v) for v in np.floor(quad.min(axis=0)).clip(0, limit))
        right, bottom = (int(v) for v in np.ceil(quad.max(axis=0)).clip(0, limit))
        levels = _shrink(images.to_levels(raw), float(np.linalg.norm(quad[3] - quad[0])))
        lost = photo[top:bottom, left:right].astype(np.float32)
        canvas = cls(photo, (left, top, right, bottom), place, levels, coarse.clamp(-1, 1), lost, feather)
        for start, stop in canvas._strips():
            cv2.subtract(lost[start:stop], canvas._to_photo(levels, start, stop, smooth=True), lost[start:stop])
        return canvas

    @property
    def nbytes(self) -> int:
        """Memory held beside the photo itself."""
        return self.lost.nbytes + self.raw.nbytes + self.coarse.nbytes

    def blend(self, raw: Tensor, coarse: Tensor, keep: float = 1.0) -> Photo:
        """The photo with an edit in it, uint8 H x W x 3.

        raw, coarse: 1 x 3 x R x R, the edit's R(e) and C(e). keep: 0..1, how much detail stays where nothing moved.
        raw = R0, coarse = C0, keep = 1 gives the photo byte for byte.
        """
        import cv2

        levels = _shrink(images.to_levels(raw), self.raw.shape[0])
        change = (levels - self.raw) * _rim(len(levels), self.feather)[..., None]
        still = self._still(coarse)
        gone = (keep * still - 1) * _rim(len(still), self.feather)
        out = self.photo.copy()
        left, top, right, _ = self.box
        for start, stop in self._strips():
            lift = self._to_photo(change, start, stop, smooth=True)
            weight = self._to_photo(gone, start, stop, smooth=False)
            cv2.accumulateProduct(cv2.merge([weight] * 3), self.lost[start:stop], lift)
            strip = out[top + start : top + stop, left:right]
            strip[:] = cv2.add(strip, lift, dtype=cv2.CV_8U)
        return out

    def _still(self, coarse: Tensor) -> Plane:
        """m, at most 128 x 128: 1 where the coarse image did not change, towards 0 where it did."""
        import cv2

        change = (coarse.clamp(-1, 1) - self.coarse).abs().mean(dim=1, keepdim=True)
        size = min(_MASK_SIZE, change.shape[-1])
        small = functional.adaptive_avg_pool2d(change, size)[0, 0].float().cpu().numpy()
        blurred = cv2.GaussianBlur(small, (0, 0), BLUR * size, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(np.exp(-((blurred / TAU) ** 2)), dtype=np.float32)

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
