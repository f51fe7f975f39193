"""Stage `calibrate`: what a slider does, measured on photos, becomes its unit.

Each direction is rendered by e4e alone at nine strengths on a few training photos and read by a judge. The curve
through the median change is stored with it, so that a slider at v moves the median face by v units; its range is the
widest in which the effect keeps growing and the picture stays a face.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from hfgi_app import images, weights
from hfgi_app.directions import build
from hfgi_app.directions.base import Facts
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.models import CATALOGUE, Models, embedded_tensors
from hfgi_app.train import data
from hfgi_app.train.directions import deviation
from hfgi_app.types import Curve, Photo

Read = Callable[[Photo], Mapping[str, float]]
"""Attributes of a face by name; NaN where none is seen."""

FACES = 24
STEPS = np.linspace(-1, 1, 9)
"""Strengths that are tried, as shares of a direction's reach."""
LEAST_GAIN = 0.2
"""Of the steepest change: a range ends where further steps bring less."""
LEAST_SEEN = 0.9
"""Share of the pictures in which a face is still found."""

Values = NDArray[np.float64]
Measured = dict[str, Curve]


def halves(pack: data.Pack) -> data.Pack:
    """The training pictures alone, every other one marked as for testing: judges learn from the others, so that they
    are no better on the faces they read than on new ones."""
    train = pack.indices(test=False)
    labels = {name: values[train] for name, values in pack.labels.items()}
    names = tuple(pack.names[index] for index in train.tolist())
    odd = torch.arange(len(train)) % 2 == 1
    return data.Pack(pack.pictures[train], pack.persons[train], pack.sharp[train], odd, names, labels)


@torch.no_grad()
def calibrate(folder: Path, pack: data.Pack, judge: Callable[[data.Pack], Read], device: torch.device) -> Measured:
    """Measure and store the curve of every direction in a model's folder whose facts name the `attribute` it is to
    change, how much of it a unit is, `per`, and how far to go, `reach`, in deviations of the codes along it.

    The others keep what they have, as do those without a steady effect. Gives the curves by name.
    """
    tensors, config = embedded_tensors(folder)
    models = Models(CATALOGUE[0], tensors, config, build(tensors, config), device)
    family = models.families[InterfaceGAN.group.name]
    facts: Mapping[str, Facts] = config[InterfaceGAN.group.name]
    pack = halves(pack)
    read = judge(pack)
    faces = [models.invert(pack.batch(one, models.encoder_size, device)) for one in _spread(pack).split(1)]
    faces = [face for face in faces if all(map(isfinite, read(images.to_photo(face.coarse)).values()))][:FACES]
    codes = torch.cat([face.codes for face in faces])
    found: dict[str, Curve] = {}
    for name, own in tqdm([(name, own) for name, own in facts.items() if "attribute" in own], desc="calibrate"):
        step = cast(Tensor, family.delta(name, faces[0]).w)
        multiples = STEPS * own["reach"] * deviation(codes, step[0])
        values = respond(models, codes, step, multiples, read, own["attribute"])
        points = curve(multiples, values, own["per"])
        if points and min(-points.strengths[0], points.strengths[-1]) >= own["step"]:
            found[name] = points
    _store(folder, found)
    return found


def _spread(pack: data.Pack) -> Tensor:
    """Twice as many faces as are needed, evenly over those that judges did not learn from."""
    held_out = pack.indices(test=True)
    return held_out[torch.linspace(0, len(held_out) - 1, min(2 * FACES, len(held_out))).long()]


def _store(folder: Path, found: Mapping[str, Curve]) -> None:
    for path in folder.glob("*.safetensors"):
        tensors, metadata = weights.load(path)
        config = json.loads(metadata["config"])
        named = config.get(InterfaceGAN.group.name, {})
        for name in named.keys() & found.keys():
            named[name] |= _slider(found[name], named[name]["step"])
        if named.keys() & found.keys():
            weights.save(path, tensors, {**metadata, "config": json.dumps(config)})


def _slider(curve: Curve, step: float) -> Facts:
    """Facts of a slider that ends where its curve does, at a whole step."""
    low, high = (round(int(end / step) * step, 6) for end in (curve.strengths[0], curve.strengths[-1]))
    return {"low": low, "high": high, "curve": [curve.strengths, curve.multiples]}


def respond(models: Models, codes: Tensor, step: Tensor, multiples: Values, read: Read, attribute: str) -> Values:
    """What is read of an attribute in codes N x L x D + multiples K of a step 1 x L x D: N x K."""
    times = torch.from_numpy(multiples).to(step)[:, None, None]
    rows = [[images.to_photo(picture[None]) for picture in models.generator(one + times * step)] for one in codes]
    return np.array([[read(picture)[attribute] for picture in row] for row in rows])


def curve(multiples: Values, values: Values, per: float) -> Curve | None:
    """The points around 0 at which the median change has grown; None where it never does.

    A side on which most faces do not change, since they are at its end already (they wear no glasses, their mouth is
    shut), takes over the other side's units half as far: on the few that can change they count.

    multiples K: rising, symmetric, 0 in the middle. values N x K: of the attribute. per: its change a unit.
    """
    middle = len(multiples) // 2
    changes = np.nanmedian(values - values[:, middle : middle + 1], axis=0) / per
    seen = np.isfinite(values).mean(axis=0) >= LEAST_SEEN
    least = LEAST_GAIN * max(changes[multiples != 0] / multiples[multiples != 0])
    up = _growing(multiples[middle + 1 :], changes[middle + 1 :], seen[middle + 1 :], least)
    down = _growing(-multiples[:middle][::-1], -changes[:middle][::-1], seen[:middle][::-1], least)
    if not up and not down:
        return None
    half = multiples[-1] / 2
    points = [(-multiple, -change) for multiple, change in down or [one for one in up if one[0] <= half]]
    points = [*points[::-1], (0.0, 0.0), *(up or [one for one in down if one[0] <= half])]
    return Curve(tuple(change for _, change in points), tuple(multiple for multiple, _ in points))


def _growing(multiples: Values, changes: Values, seen: NDArray[np.bool_], least: float) -> list[tuple[float, float]]:
    """Of one side, outwards: the points that bring `least` more a multiple than the last of them, while faces are
    seen. Readings waver: a step without gain does not end the range where a later one brings more."""
    points: list[tuple[float, float]] = []
    last = (0.0, 0.0)
    for multiple, change, face in zip(multiples.tolist(), changes.tolist(), seen.tolist(), strict=True):
        if not face:
            break
        if change - last[1] > max(least * (multiple - last[0]), 0):
            last = (multiple, change)
            points.append(last)
    return points
