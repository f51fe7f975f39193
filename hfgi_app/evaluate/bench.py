"""How long a user waits: to start, to open a photo, for the first edit, for each frame of a dragged slider."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hfgi_app import images
from hfgi_app.evaluate.report import Bench, Play, Timing
from hfgi_app.evaluate.stages import moved, quick, timed
from hfgi_app.models import Models
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Photo, Slider

PHOTO = Path(__file__).resolve().parents[2] / "assets" / "man.jpg"
FRAMES = 30
OPENINGS = 5


def bench(models: Models, methods: Sequence[str], options: Sequence[str]) -> Bench:
    """Measure in this process, but for the start. A frame is a slider at a place where it has not been.

    methods: all that the model has but the slow ones where none is given; options: what names the model on the command
    line.
    """
    photo, start = images.read(PHOTO), _start(options)
    session = EditSession(models)
    first = timed(partial(session.open, photo))[1]
    later = _timing([timed(partial(session.open, photo))[1] for _ in range(OPENINGS)])
    slider = models.sliders()[0]
    names = methods or quick(models)
    return Bench(
        model=models.name,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        photo=(photo.shape[1], photo.shape[0]),
        preview=session.preview_size,
        frames=FRAMES,
        start=start,
        open_first=first,
        open=later,
        methods={name: _play(models, photo, slider, name) for name in tqdm(names, desc="bench", unit="method")},
    )


def _start(options: Sequence[str]) -> float:
    """Seconds a fresh Python takes to load the models and name their methods."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hfgi_app", "methods", *options], capture_output=True, check=True)
    return time.perf_counter() - start


def _play(models: Models, photo: Photo, slider: Slider, method: str) -> Play:
    session, recipe = EditSession(models), EditRecipe(method=method)
    session.open(photo)
    recipes = [moved(recipe, slider, float(share)) for share in np.linspace(0.05, 0.9, 2 * FRAMES + 1)]
    first, previews, wholes = recipes[0], recipes[1 : FRAMES + 1], recipes[FRAMES + 1 :]
    return Play(
        first_edit=timed(partial(session.preview, first))[1],
        preview=_timing([timed(partial(session.preview, one))[1] for one in previews]),
        whole=_timing([timed(partial(session.render, one))[1] for one in wholes]),
    )


def _timing(times: Sequence[float]) -> Timing:
    return Timing(float(np.median(times)), float(np.quantile(times, 0.9)))
