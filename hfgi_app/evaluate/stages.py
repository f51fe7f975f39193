"""What is done with the faces, stage by stage, through EditSession and the refiners alone: rebuilt, edited, changed
beforehand, aligned, timed. Photos are uint8 N x S x S x 3; progress shows on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from hfgi_app import face, images
from hfgi_app.directions.base import apply
from hfgi_app.evaluate import measures
from hfgi_app.evaluate.judges import Judges
from hfgi_app.evaluate.photos import ODD
from hfgi_app.evaluate.report import Cost, Odd
from hfgi_app.evaluate.summary import Seen, Shot
from hfgi_app.models import Models
from hfgi_app.networks.follow import carry
from hfgi_app.refine.base import Edit, Patient
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Inversion, Latents, Photo, Slider

LOOKS: Mapping[str, Callable[[EditSession, EditRecipe], Photo]] = {
    "raw": EditSession.raw,
    "composited": EditSession.render,
}
SHARES = (-0.6, -0.3, 0.3, 0.6)
"""Of a slider's range, where its effect is measured."""
AHEAD = 0.8
"""Of the turning slider's range, where alignment is measured."""

_TIMED = 5  # faces

Photos = NDArray[np.uint8]
Table = dict[tuple[str, str], Seen]
"""By method and look."""
T = TypeVar("T")


def opened(models: Models, photos: Photos, doing: str) -> Iterator[tuple[Photo, EditSession]]:
    """Each photo at the encoder's size, and a session with it open."""
    session = EditSession(models)
    for photo in bar(photos, doing):
        session.open(photo, aligned=True)
        yield images.scale(photo, models.encoder_size), session


def bar(photos: Photos, doing: str) -> Iterator[Photo]:
    """One photo after the other, with their progress."""
    yield from tqdm(photos, desc=doing, unit="face")


def moved(recipe: EditRecipe, slider: Slider, share: float) -> EditRecipe:
    """The recipe with one slider at a share of its range, -1..1."""
    return recipe.with_strength(slider.name, share * slider.high if share > 0 else -share * slider.low)


def rebuild(models: Models, judges: Judges, photos: Photos, table: Table) -> None:
    """Every face as every method rebuilds it."""
    for photo, session in opened(models, photos, "rebuilding"):
        for (method, look), seen in table.items():
            picture = LOOKS[look](session, EditRecipe(method=method))
            seen.rebuilt.append(measures.rebuilt(photo, images.scale(picture, len(photo))))
            seen.readings.append(judges.read(picture))


def edit(
    models: Models, judges: Judges, photos: Photos, places: Sequence[int], table: Table, targets: Mapping[str, str]
) -> None:
    """Faces moved along every slider. places: their positions among the test faces; targets: what sliders change."""
    for place, (photo, session) in zip(places, opened(models, photos, "editing"), strict=True):
        truth = images.scale(photo, models.size)
        behind = measures.background(face.person(truth))
        for (method, look), seen in table.items():
            recipe = EditRecipe(method=method)
            still = LOOKS[look](session, recipe)
            seen.shots.append(Shot(place, "", 0.0, judges.read(still), 0.0, measures.change(truth, still, behind)))
            for slider, share in _moves(models, targets, look):
                picture = LOOKS[look](session, moved(recipe, slider, share))
                drift, stray = (measures.change(one, picture, behind) for one in (still, truth))
                seen.shots.append(Shot(place, slider.name, share, judges.read(picture), drift, stray))


def _moves(models: Models, targets: Mapping[str, str], look: str) -> list[tuple[Slider, float]]:
    """Sliders and shares: composited only their two ends, and those without a measure only one of them, raw."""
    raw = look == "raw"
    seen = [slider for slider in models.sliders() if slider.name in targets or raw]
    measured = SHARES if raw else (SHARES[0], SHARES[-1])
    return [(slider, share) for slider in seen for share in (measured if slider.name in targets else SHARES[-1:])]


def odd(models: Models, methods: Sequence[str], photos: Photos) -> dict[str, dict[str, Odd]]:
    """By method and kind: how well photos unlike the trained ones are rebuilt."""
    plain = _rebuilt_mae(models, methods, photos, "plain")
    found: dict[str, dict[str, Odd]] = {method: {} for method in methods}
    for kind, change in ODD.items():
        rng = np.random.default_rng(0)
        changed = _rebuilt_mae(models, methods, np.array([change(photo, rng) for photo in photos]), kind)
        for method, mae in changed.items():
            found[method][kind] = Odd(mae, measures.ratio(mae, plain[method]))
    return found


def _rebuilt_mae(models: Models, methods: Sequence[str], photos: Photos, doing: str) -> dict[str, float]:
    errors: dict[str, list[float]] = {method: [] for method in methods}
    everywhere = np.ones((models.encoder_size, models.encoder_size), bool)
    for photo, session in opened(models, photos, doing):
        for method in methods:
            picture = images.scale(session.raw(EditRecipe(method=method)), len(photo))
            errors[method].append(measures.change(photo, picture, everywhere))
    return {method: float(np.mean(errors[method])) for method in methods}


def alignment(models: Models, methods: Sequence[str], photos: Photos, turning: Slider) -> dict[str, float]:
    """By method that aligns a map: L1 of the aligned map to the true one, over that of the map left as it was.

    The truth is known because it is made: detail of the photo's own distortion map is put into the coarse face before a
    turn, and carried along by the optical flow into the one after it. Only where the head is: behind it the code's own
    picture shifts as well, and that a method leaves the photo alone there is no fault.
    """
    aligning = {name: getattr(models.refiner(name), "align", None) for name in methods}
    errors: dict[str, list[tuple[float, ...]]] = {name: [] for name, align in aligning.items() if align is not None}
    for _, session in opened(models, photos, "aligning") if errors else ():
        for share in (-AHEAD, AHEAD):
            family, name = models.family(turning.name)
            strength = dict(moved(EditRecipe(), turning, share).strengths)[turning.name]
            latents = apply(session.inversion.codes, [(strength, family.delta(name, session.inversion))])
            for method in errors:
                errors[method].append(_pair(models, method, session.inversion, latents))
    sums = {method: np.sum(pairs, axis=0) for method, pairs in errors.items()}
    return {method: measures.ratio(float(done), float(undone)) for method, (done, undone) in sums.items()}


@torch.no_grad()
def _pair(models: Models, method: str, inversion: Inversion, latents: Latents) -> tuple[float, ...]:
    """L1 to the true map on one known pair: of the aligned map, and of the unaligned one."""
    side, edit = inversion.source.shape[-1], Edit.of(models.generator, inversion.codes, latents)
    before, after = (images.resize(one.clamp(-1, 1), side) for one in (inversion.coarse, edit.coarse))
    detail = measures.fine(inversion.distortion)
    way = measures.flow(images.to_photo(before), images.to_photo(after)).to(detail)
    source, target = (before + detail).clamp(-1, 1), (after + carry(detail, way)).clamp(-1, 1)
    known = replace(inversion, source=source, distortion=source - before)
    refiner: Any = models.refiner(method)
    aligned, truth = refiner.align(refiner.consult(known), edit), target - after
    head = torch.from_numpy(measures.head(side)).to(truth.device)
    return tuple(float((one - truth)[..., head].abs().mean()) for one in (aligned, known.distortion))


def costs(models: Models, methods: Sequence[str], photos: Photos) -> dict[str, Cost]:
    """By method: median times on a few faces, and sizes."""
    slider = next(iter(models.sliders()), None)
    found: dict[str, list[Cost]] = {method: [] for method in methods}
    session = EditSession(models)
    for photo in bar(photos[:_TIMED], "timing"):
        opening = timed(partial(session.open, photo, aligned=True))[1]
        for method in methods:
            recipe = EditRecipe(method=method)
            detail, consulting = timed(partial(models.refiner(method).consult, session.inversion))
            session.raw(recipe)
            rendering = timed(partial(session.raw, moved(recipe, slider, 0.5)))[1] if slider else float("nan")
            found[method].append(Cost(opening, consulting, rendering, parameters(models, method), detail.nbytes))
    return {method: _middle(rows) for method, rows in found.items()}


def _middle(rows: Sequence[Cost]) -> Cost:
    opening, consulting, rendering = np.median([(row.open, row.consult, row.render) for row in rows], axis=0).tolist()
    return Cost(opening, consulting, rendering, rows[-1].parameters, rows[-1].detail_bytes)


def quick(models: Models) -> list[str]:
    """The model's methods but those that people are asked about first, because they take so long."""
    return [method.name for method in models.methods() if not isinstance(models.refiner(method.name), Patient)]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the milliseconds it takes."""
    start = time.perf_counter()
    given = call()
    return given, (time.perf_counter() - start) * 1e3


def parameters(models: Models, method: str) -> int:
    """Of the networks that a refiner holds beside the model's generator."""
    held = [value for value in vars(models.refiner(method)).values() if isinstance(value, nn.Module)]
    return sum(one.numel() for network in held if network is not models.generator for one in network.parameters())
