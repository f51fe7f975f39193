"""The values that travel between rooms. All are frozen; tensors inside them are never written to.

Pictures as tensors are float32 N x 3 x H x W, RGB in [-1, 1]; as arrays uint8 H x W x 3, RGB.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hfgi_app.errors import RecipeError
from hfgi_app.prompts import Prompt

Photo = NDArray[np.uint8]
"""uint8 H x W x 3, RGB, upright."""

StyleOffsets = tuple[tuple[int, Tensor], ...]
"""(convolution layer index, offset 1 x channels) in style space, layers ascending."""


PROMPTS = 16
"""Typed prompts in one recipe: each has to be calibrated on the photo."""


@dataclass(frozen=True, eq=False)
class Face:
    """One aligned face and where it came from.

    quad: 4 x 2 corners (x, y) in photo pixels: top left, bottom left, bottom right, top right. Counted from the
        photo's corner: pixel (0, 0) covers 0..1, the whole photo is (0, 0), (0, H), (W, H), (W, 0).
    crop: 1 x 3 x S x S in [-1, 1], sampled from the photo directly at the encoder's size S.
    """

    photo: Photo
    quad: NDArray[np.float64]
    crop: Tensor


@dataclass(frozen=True)
class Curve:
    """What a slider's unit is worth: strength -> how many times its delta is added.

    Piecewise linear through the points, one of them (0, 0) with others on both sides, and straight on beyond them; with
    no points, as many times as the strength says. Raises ValueError where the points do not rise strictly.
    """

    strengths: tuple[float, ...] = ()
    multiples: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        points = list(zip(self.strengths, self.multiples, strict=True))
        rising = all(x < x2 and y < y2 for (x, y), (x2, y2) in pairwise(points))
        if points and not (rising and (0, 0) in points[1:-1] and all(map(isfinite, chain(*points)))):
            raise ValueError("a curve's points rise strictly, and (0, 0) is one of those between the ends")

    def __call__(self, strength: float) -> float:
        if not self.strengths:
            return strength
        last = len(self.strengths) - 2
        left = min(max(bisect_right(self.strengths, strength) - 1, 0), last)  # so 0 begins a piece: exactly 0 there
        (x, x2), (y, y2) = self.strengths[left : left + 2], self.multiples[left : left + 2]
        return y + (strength - x) * (y2 - y) / (x2 - x)


@dataclass(frozen=True, eq=False)
class Delta:
    """One step along one direction for one photo: w (1 x L x D, or None) and style-space offsets.

    A strength adds it `curve(strength)` times.
    """

    w: Tensor | None = None
    styles: StyleOffsets = ()
    curve: Curve = Curve()


@dataclass(frozen=True, eq=False)
class Latents:
    """Codes w (N x L x D, W+) and offsets added to the styles they become."""

    w: Tensor
    styles: StyleOffsets = ()


@dataclass(frozen=True, eq=False)
class Inversion:
    """What one photo became, once.

    source              1 x 3 x S x S in [-1, 1], the aligned crop
    codes               1 x L x D
    encoder_features    1 x C x h x h, the encoder's map at the hook size (e4e c1)
    generator_features  1 x C' x h x h, the generator's map at the hook for the unedited codes
    generator_image     1 x 3 x h/2 x h/2, its RGB skip there
    coarse              1 x 3 x R x R, G(codes), unclamped
    distortion          1 x 3 x S x S, source - resize(clamp(coarse))   (HFGI, section 3.1)
    """

    source: Tensor
    codes: Tensor
    encoder_features: Tensor
    generator_features: Tensor
    generator_image: Tensor
    coarse: Tensor
    distortion: Tensor


@dataclass(frozen=True)
class Slider:
    """One row of the page. Strengths run from low to high in `unit`; 0 is always the photo itself."""

    name: str
    label: str
    low: float
    high: float
    step: float
    unit: str
    family: str


@dataclass(frozen=True)
class Group:
    """A family of sliders as users see it; a folded one stays shut until it is asked for.

    name: the `family` of its sliders. note: one sentence, what they are.
    """

    name: str
    label: str
    note: str
    folded: bool = False


@dataclass(frozen=True)
class TypedSlider:
    """A typed prompt as a slider for one photo.

    prompt     as typed, at strength 1, with the beta in use
    slider     its range suits the photo; the name is the prompt's two phrases
    channels   how many channels of style it moves
    strictest  the largest beta that leaves one
    """

    prompt: Prompt
    slider: Slider
    channels: int
    strictest: float


@dataclass(frozen=True)
class Change:
    """What an edit did, as the text model sees it: from -1 to 1, how much of all that changed points at `label`."""

    label: str
    amount: float


@dataclass(frozen=True)
class Method:
    """A refinement method as users see it."""

    name: str
    label: str
    paper: str


@dataclass(frozen=True)
class EditRecipe:
    """What to do to a photo: hashable, equal by value, zeros dropped, names sorted.

    strengths  (("family/name", strength), ...)
    prompts    typed prompts, each pair of phrases once (the last one counts)
    method     name of the refinement method
    keep       0..1, how much of the photo's own detail stays where the edit moved nothing

    Raises RecipeError for a name that is not text, or a number that is not finite.
    """

    strengths: tuple[tuple[str, float], ...] = ()
    prompts: tuple[Prompt, ...] = ()
    method: str = "hfgi"
    keep: float = 1.0

    def __post_init__(self) -> None:
        clean = {_text(name): _number(value, f"The strength of {name}") for name, value in self.strengths}
        object.__setattr__(self, "strengths", tuple(sorted((n, v) for n, v in clean.items() if v != 0)))
        if len(self.prompts) > PROMPTS:
            raise RecipeError(f"The recipe has {len(self.prompts)} typed prompts; use at most {PROMPTS}.")
        once = {(prompt.neutral.casefold(), prompt.target.casefold()): prompt for prompt in self.prompts}
        object.__setattr__(self, "prompts", tuple(sorted((p for p in once.values() if p.strength != 0), key=str)))
        object.__setattr__(self, "method", _text(self.method))
        keep = _number(self.keep, "keep")
        if not 0 <= keep <= 1:
            raise RecipeError(f"keep must lie between 0 and 1, not {keep:g}.")
        object.__setattr__(self, "keep", keep)

    def with_strength(self, name: str, value: float) -> EditRecipe:
        """The same recipe with one strength set (0 removes it)."""
        return replace(self, strengths=tuple({**dict(self.strengths), name: value}.items()))

    @property
    def is_identity(self) -> bool:
        """True where the recipe asks for no edit at all."""
        return not self.strengths and not self.prompts

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives an equal recipe back."""
        fields = {
            "strengths": dict(self.strengths),
            "prompts": [str(prompt) for prompt in self.prompts],
            "method": self.method,
            "keep": self.keep,
        }
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> EditRecipe:
        """Read a recipe. Missing fields take their defaults.

        Raises RecipeError where the text is no JSON object or a field has the wrong shape.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise RecipeError("The recipe is not valid JSON; export one from the page to see its form.") from None
        if not isinstance(fields, dict):
            raise RecipeError("A recipe is a JSON object with strengths, prompts, method and keep.")
        unknown = sorted(set(fields) - {"strengths", "prompts", "method", "keep"})
        if unknown:
            raise RecipeError(
                f"The recipe has a field named {unknown[0]!r:.40}; known are strengths, prompts, method, keep."
            )
        strengths, prompts = fields.get("strengths", {}), fields.get("prompts", [])
        if not isinstance(strengths, dict) or not isinstance(prompts, list):
            raise RecipeError("In a recipe, strengths is an object of numbers and prompts a list of texts.")
        defaults = cls()
        return cls(
            tuple(strengths.items()),
            tuple(Prompt.parse(_text(prompt)) for prompt in prompts),
            fields.get("method", defaults.method),
            fields.get("keep", defaults.keep),
        )


_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no file can hold it


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or _SURROGATE.search(value):
        raise RecipeError(f"A recipe needs a text here, not {value!r:.40}.")
    return value


def _number(value: object, what: str) -> float:
    # Compared, not converted: a whole number of a thousand digits has no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise RecipeError(f"{what} must be a finite number, not {value!r:.40}.")
    return float(value)
