"""What the command line asks for, as the text that it shows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfgi_app import images
from hfgi_app.evaluate import bench, report, run, table
from hfgi_app.evaluate.photos import Faces
from hfgi_app.evaluate.sheet import sheet
from hfgi_app.models import Models


def evaluate(options: argparse.Namespace, models: Models, faces: Faces) -> str:
    """Measure, and write the picture sheet where one is asked for. Faces of a folder without a table all are test
    faces. Raises what `run.evaluate` raises."""
    if options.images.is_dir() and not (options.images / "labels.csv").exists():
        faces = replace(faces, test=np.ones_like(faces.test))
    found = run.evaluate(models, faces, options.method, options.limit)
    if options.sheet:
        images.write(options.sheet, sheet(models, faces, list(found.methods), options.limit))
    return _text(options, found, table.lines(found))


def speed(options: argparse.Namespace, models: Models) -> str:
    """Measure how long a user waits."""
    given = {"--model": options.model, "--checkpoint": options.checkpoint, "--directions": options.directions}
    named = [word for name, value in given.items() if value for word in (name, str(value))]
    found = bench.bench(models, options.method, named)
    return _text(options, found, table.bench_lines(found))


def _text(options: argparse.Namespace, found: report.Report | report.Bench, lines: Sequence[str]) -> str:
    return (json.dumps(report.to_json(found)) if options.json else "\n".join(lines)) + "\n"
