"""A picture sheet: test faces down; the photo, what each method rebuilds, and steps of three sliders across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hfgi_app import images
from hfgi_app.evaluate.photos import Faces, spread
from hfgi_app.evaluate.stages import Photos, moved, opened
from hfgi_app.models import Models
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Photo

ROWS = 12
STEPS = (-3, -2, -1, 1, 2, 3)
"""Of a slider, in thirds of its range."""
SHOWN = 3
"""Sliders."""

_SIDE = 128  # pixels of a face
_HEAD = 44


def sheet(models: Models, faces: Faces, methods: Sequence[str], limit: int | None) -> Photo:
    """Everything raw: each method's rebuilt face, then the model's first sliders by the first of its methods.

    limit: of test faces, from the first.
    """
    photos: Photos = faces.photos[spread(faces.testing(limit), ROWS)]
    shown = next(method.name for method in models.methods() if method.name in methods)
    recipes = {name: EditRecipe(method=name) for name in methods}
    for slider in models.sliders()[:SHOWN]:
        for step in STEPS:
            recipe = moved(EditRecipe(method=shown), slider, step / 3)
            strength = dict(recipe.strengths)[slider.name]
            recipes[f"{slider.label} {strength:+.3g} {slider.unit}\n{shown}"] = recipe
    rows = [_row(photo, session, list(recipes.values())) for photo, session in opened(models, photos, "sheet")]
    return np.concatenate([_head(["photo", *recipes]), *rows])


def _row(photo: Photo, session: EditSession, recipes: Sequence[EditRecipe]) -> Photo:
    pictures = [photo, *(session.raw(recipe) for recipe in recipes)]
    return np.concatenate([images.scale(picture, _SIDE) for picture in pictures], axis=1)


def _head(titles: Sequence[str]) -> Photo:
    strip = Image.new("RGB", (_SIDE * len(titles), _HEAD), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(14)
    for column, title in enumerate(titles):
        draw.multiline_text((_SIDE * column + 5, 4), title, "black", font)
    return np.asarray(strip)
