"""EditSession: one user's open photo. The only mutable object in the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfgi_app import face, images
from hfgi_app.composite import Canvas, Scene
from hfgi_app.directions.base import apply
from hfgi_app.directions.styleclip import StyleCLIP
from hfgi_app.errors import PhotoError, RecipeError
from hfgi_app.models import Models
from hfgi_app.prompts import Prompt
from hfgi_app.refine.base import Detail, Edit, Patient, Progress
from hfgi_app.types import Change, Delta, EditRecipe, Face, Inversion, Latents, Photo, TypedSlider

PREVIEW_SIZES = (128, 256, 512)
FACE_SHOWN = 0.8
"""Of the middle of an aligned crop, at least, shows the person where segmentation has seen the face at all."""
CALIBRATED = 128
"""Pixels at which a typed prompt is tried on the photo."""
TYPED_KEPT = 64
"""Typed prompts that an open photo remembers."""


@dataclass(eq=False)
class _Prepared:
    """What one refinement method needs of one photo, computed on first use."""

    detail: Detail
    raw: Tensor
    canvases: dict[str, Canvas] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.detail.nbytes + self.raw.nbytes + sum(canvas.nbytes for canvas in self.canvases.values())


@dataclass(eq=False)
class _Opened:
    """One photo: its face, its inversion, and what was derived from them so far."""

    face: Face
    faces: int
    index: int
    aligned: bool
    inversion: Inversion
    scene: Scene | None
    prepared: dict[str, _Prepared] = field(default_factory=dict)
    deltas: dict[str, Delta] = field(default_factory=dict)
    typed: dict[Prompt, tuple[TypedSlider, Delta]] = field(default_factory=dict)
    last: tuple[object, Tensor, Tensor] | None = None


class EditSession:
    """Open a photo once, then make any picture of it from a recipe: same recipe, same picture.

    Not for two threads at once. Every picture is uint8 H x W x 3, RGB.
    """

    def __init__(self, models: Models) -> None:
        self.models = models
        self._opened: _Opened | None = None

    def open(
        self, photo: Photo, *, face_index: int | None = None, aligned: bool = False, progress: Progress | None = None
    ) -> None:
        """Find, align and invert a face. A failure keeps the photo that was open before.

        face_index: which face, left to right from 0; the largest where not given.
        aligned: the photo already is an FFHQ-aligned square crop; pictures then have the model's own size R x R.
        Raises PhotoError for a photo that is not square though `aligned`, NoFaceError where there is no such face.
        """
        report = progress or (lambda share, what: None)
        report(0.0, "Finding the face")
        if aligned:
            found, faces, index = self._whole(photo), 1, 0
        else:
            all_faces = face.detect(photo)
            chosen = face.choose(all_faces, face_index)
            faces, index = len(all_faces), next(i for i, one in enumerate(all_faces) if one is chosen)
            found = face.align(photo, chosen, self.models.encoder_size)
        report(0.3, "Reading the face")
        inversion = self.models.invert(found.crop)
        opened = _Opened(found, faces, index, aligned, inversion, _scene(inversion))
        report(0.7, "Bringing detail back")
        self._prepare(opened, self.models.methods()[0].name, progress)
        report(1.0, "Ready")
        self._opened = opened

    def prepare(self, method: str, progress: Progress | None = None) -> None:
        """Consult a method before its first picture is asked for, which else would take as long.

        PTI takes its time; `progress` may raise to cancel, and nothing is kept then. Meanwhile the other methods'
        pictures may be made in another thread. Raises RecipeError for a method that the model does not have, HfgiError
        where it would take too long here.
        """
        self._prepare(self._photo(), method, progress)

    def estimate(self, method: str) -> float:
        """Seconds that `prepare` would take, about; 0 where the method is ready, or too quick to ask first.

        Raises RecipeError for a method that the model does not have.
        """
        opened, refiner = self._photo(), self.models.refiner(method)
        if method in opened.prepared or not isinstance(refiner, Patient):
            return 0.0
        return refiner.estimate(opened.inversion)

    def close(self) -> None:
        """Forget the photo and all that came from it."""
        self._opened = None

    @property
    def photo(self) -> Photo | None:
        """The open photo, upright."""
        return None if self._opened is None else self._opened.face.photo

    @property
    def quad(self) -> NDArray[np.float64]:
        """4 x 2 corners (x, y) of the face's square in photo pixels, as in `Face`."""
        return self._photo().face.quad

    @property
    def faces(self) -> int:
        """Number of faces found in the photo."""
        return self._photo().faces

    @property
    def face(self) -> int:
        """Which of them is open, left to right from 0."""
        return self._photo().index

    @property
    def inversion(self) -> Inversion:
        """The open photo's inversion."""
        return self._photo().inversion

    @property
    def preview_size(self) -> int:
        """Side of the preview: the smallest of 128, 256 and 512 that shows the face's own pixels."""
        native = float(np.linalg.norm(self.quad[3] - self.quad[0]))
        return next((size for size in PREVIEW_SIZES if size >= native), PREVIEW_SIZES[-1])

    @property
    def nbytes(self) -> int:
        """Memory that the open photo takes, about."""
        if self._opened is None:
            return 0
        opened = self._opened
        inversion: int = sum(tensor.nbytes for tensor in vars(opened.inversion).values())
        scene = 0 if opened.scene is None else opened.scene.nbytes
        return opened.face.photo.nbytes + inversion + scene + sum(one.nbytes for one in list(opened.prepared.values()))

    def preview(self, recipe: EditRecipe) -> Photo:
        """The edited face alone, P x P (see `preview_size`), for live frames; same formula as `render`."""
        return self._blend(recipe, "preview")

    def render(self, recipe: EditRecipe) -> Photo:
        """The whole photo at its own size; with no edit, the photo itself."""
        return self._blend(recipe, "whole")

    def raw(self, recipe: EditRecipe) -> Photo:
        """The method's own render R x R, nothing composited."""
        opened = self._photo()
        with torch.no_grad():
            return images.to_photo(self._render(opened, recipe)[0])

    def coarse(self, recipe: EditRecipe) -> Photo:
        """The edit of the low-rate code alone, R x R."""
        opened = self._photo()
        with torch.no_grad():
            return images.to_photo(self._render(opened, recipe)[1])

    def typed(self, prompt: Prompt) -> TypedSlider:
        """The prompt as a slider for the open photo: its range is measured on it, whatever strength the prompt has.

        Raises RecipeError where the model cannot follow it.
        """
        return self._typed(self._photo(), prompt)[0]

    def changes(self, recipe: EditRecipe) -> tuple[Change, ...]:
        """What the recipe's edit did to the face as the text model sees it: the prompts' targets, then all else that
        changed, the most first. Empty where nothing changed. Raises RecipeError where the model has no text model."""
        opened = self._photo()
        with torch.no_grad():
            raw = self._render(opened, recipe)[0]
            return self._prompts().changes(self._prepare(opened, recipe.method).raw, raw, recipe.prompts)

    def _photo(self) -> _Opened:
        if self._opened is None:
            raise PhotoError("No photo is open yet; open one first.")
        return self._opened

    def _whole(self, photo: Photo) -> Face:
        """An aligned photo at the size of the pictures to come, its crop taken from the photo as it came."""
        crop = face.whole(photo, self.models.encoder_size).crop
        resized = images.scale(photo, self.models.size)
        return Face(resized, face.whole(resized, self.models.size).quad, crop)

    def _prepare(self, opened: _Opened, method: str, progress: Progress | None = None) -> _Prepared:
        if method not in opened.prepared:
            refiner = self.models.refiner(method)
            with torch.no_grad():
                detail = refiner.consult(opened.inversion, progress)
                codes = opened.inversion.codes
                raw = refiner.render(detail, Edit.of(self.models.generator, codes, Latents(codes)))
            opened.prepared[method] = _Prepared(detail, raw)
        return opened.prepared[method]

    def _latents(self, opened: _Opened, recipe: EditRecipe) -> Latents:
        for name, _ in recipe.strengths:
            if name not in opened.deltas:
                family, direction = self.models.family(name)
                opened.deltas[name] = family.delta(direction, opened.inversion)
        edits = [(value, opened.deltas[name]) for name, value in recipe.strengths]
        edits += [(prompt.strength, self._typed(opened, prompt)[1]) for prompt in recipe.prompts]
        return apply(opened.inversion.codes, edits)

    def _prompts(self) -> StyleCLIP:
        family = self.models.families.get(StyleCLIP.group.name)
        if not isinstance(family, StyleCLIP):
            raise RecipeError("This model cannot follow typed prompts; use its sliders.")
        return family

    def _typed(self, opened: _Opened, prompt: Prompt) -> tuple[TypedSlider, Delta]:
        if prompt.unit not in opened.typed:
            picture = partial(self.models.generator.picture, stop_at=CALIBRATED)
            with torch.no_grad():
                made = self._prompts().typed(prompt, opened.inversion.codes, picture)
            while len(opened.typed) >= TYPED_KEPT:
                opened.typed.pop(next(iter(opened.typed)))
            opened.typed[prompt.unit] = made
        return opened.typed[prompt.unit]

    def _render(self, opened: _Opened, recipe: EditRecipe) -> tuple[Tensor, Tensor]:
        """Raw render and coarse edit; the newest pair is kept, so that a release after a drag costs no second pass."""
        prepared = self._prepare(opened, recipe.method)
        latents = self._latents(opened, recipe)
        if recipe.is_identity:
            return prepared.raw, opened.inversion.coarse
        key = (recipe.method, recipe.strengths, recipe.prompts)
        if opened.last is None or opened.last[0] != key:
            edit = Edit.of(self.models.generator, opened.inversion.codes, latents)
            opened.last = (key, self.models.refiner(recipe.method).render(prepared.detail, edit), edit.coarse)
        return opened.last[1], opened.last[2]

    def _blend(self, recipe: EditRecipe, kind: str) -> Photo:
        opened = self._photo()
        with torch.no_grad():
            raw, coarse = self._render(opened, recipe)
        canvases = self._prepare(opened, recipe.method).canvases
        if kind not in canvases:
            canvases[kind] = self._canvas(opened, kind, recipe.method)
        canvas = canvases[kind]
        person = None if canvas.scene is None else _person(images.resize(coarse, self.models.encoder_size))
        return canvas.blend(raw, coarse, recipe.keep, person)

    def _canvas(self, opened: _Opened, kind: str, method: str) -> Canvas:
        raw, coarse = opened.prepared[method].raw, opened.inversion.coarse
        if kind == "whole" and not opened.aligned:
            return Canvas.of_photo(opened.face.photo, opened.face.quad, raw, coarse, opened.scene)
        size = self.models.size if kind == "whole" else self.preview_size
        return Canvas.of_face(face.sample(opened.face.photo, opened.face.quad, size), raw, coarse, opened.scene)


def _scene(inversion: Inversion) -> Scene | None:
    """What a photo's crop shows; None where segmentation misses the face."""
    person, middle = _person(inversion.source), inversion.source.shape[-1] // 4
    if person[middle:-middle, middle:-middle].mean() < FACE_SHOWN:
        return None
    coarse = _person(images.resize(inversion.coarse, len(person)))
    return Scene.of(images.to_photo(inversion.source), person, coarse)


def _person(picture: Tensor) -> NDArray[np.float32]:
    """How sure it is that a pixel of an aligned picture 1 x 3 x S x S shows the person, S x S."""
    return face.person(images.to_photo(picture.clamp(-1, 1)))
