"""Everything that is measured of a model on test faces.

All faces are rebuilt; edits, which cost most, are made on an even sample. Every method is held against e4e, whose
render is the edit of the code with nothing brought back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hfgi_app.errors import NoFaceError, PhotoError
from hfgi_app.evaluate import stages, summary
from hfgi_app.evaluate.judges import Judges, Reading
from hfgi_app.evaluate.photos import Faces, Rows, spread
from hfgi_app.evaluate.report import Look, Measured, Report
from hfgi_app.evaluate.summary import Seen
from hfgi_app.models import Models

BASELINE = "e4e"
EDITED = 20
"""Faces that are edited."""
TARGETS = {
    "age": "age",
    "smile": "smile",
    "pose": "yaw",
    "yaw": "yaw",
    "pitch": "pitch",
    "mouth": "mouth_open",
    "mouth_open": "mouth_open",
    "eyes": "eyes_open",
    "eyes_open": "eyes_open",
    "glasses": "glasses",
    "hair": "hair",
}
"""What a slider of that name is meant to change."""


@dataclass(frozen=True, eq=False)
class Study:
    """What is measured, by whom. photos: the test photos; known: what they show; places: of those that are edited;
    targets: sliders whose effect has a measure, and its name."""

    models: Models
    judges: Judges
    methods: Sequence[str]
    photos: stages.Photos
    known: Sequence[Reading]
    places: Rows
    targets: Mapping[str, str]


def evaluate(models: Models, faces: Faces, methods: Sequence[str] = (), limit: int | None = None) -> Report:
    """Measure a model; minutes. Progress shows on standard error.

    methods: by name; none: all that the model has but the slow ones. The baseline always is among them.
    limit: so many test faces, the first ones.
    Raises PhotoError where there is no test face, NoFaceError where the pictures show none, RecipeError for a method
    that the model does not have.
    """
    rows = faces.testing(limit)
    if not len(rows):
        raise PhotoError("There is no test face among these pictures; give at least one.")
    study = _study(models, faces, faces.photos[rows], chosen(models, methods))
    return Report(
        model=models.name,
        size=models.size,
        faces=len(rows),
        edited=len(study.places),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        judges=study.judges.agree(faces, rows, study.known),
        recognition=study.judges.recognise(study.photos, study.known),
        methods=_measured(study),
    )


def _study(models: Models, faces: Faces, photos: stages.Photos, methods: Sequence[str]) -> Study:
    judges = Judges(faces)
    known = [judges.read(photo) for photo in stages.bar(photos, "reading")]
    if all(np.isnan(one.values).any() for one in known):
        raise NoFaceError("No face was found in the test pictures; give aligned photos of faces.")
    places = spread(np.arange(len(photos)), EDITED)
    return Study(models, judges, methods, photos, known, places, measurable(models, judges))


def _measured(study: Study) -> dict[str, Measured]:
    models, methods, sample = study.models, study.methods, study.photos[study.places]
    looks = _looks(study)
    odd, costs = stages.odd(models, methods, sample), stages.costs(models, methods, sample)
    turning = next((slider for slider in models.sliders() if study.targets.get(slider.name) == "yaw"), None)
    alignment = stages.alignment(models, methods, sample, turning) if turning else {}
    return {
        name: Measured(looks[name, "raw"], looks[name, "composited"], odd[name], alignment.get(name), costs[name])
        for name in methods
    }


def _looks(study: Study) -> dict[tuple[str, str], Look]:
    """By method and look."""
    models, judges, photos = study.models, study.judges, study.photos
    table = {(method, look): Seen() for method in study.methods for look in stages.LOOKS}
    stages.rebuild(models, judges, photos, table)
    stages.edit(models, judges, photos[study.places], study.places.tolist(), table, study.targets)
    base, names = table[BASELINE, "raw"], judges.names
    return {key: summary.look(seen, base, study.known, names, study.targets) for key, seen in table.items()}


def chosen(models: Models, methods: Sequence[str]) -> list[str]:
    """The methods to measure, the baseline first."""
    for method in methods:
        models.refiner(method)
    return list(dict.fromkeys([BASELINE, *(methods or stages.quick(models))]))


def measurable(models: Models, judges: Judges) -> dict[str, str]:
    """The sliders whose effect has a measure, and its name."""
    targets = {slider.name: TARGETS.get(slider.name.rpartition("/")[2]) for slider in models.sliders()}
    return {name: target for name, target in targets.items() if target in judges.names}
