"""What each command does with its options."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgi_app import images
from hfgi_app.errors import PhotoError, RecipeError
from hfgi_app.prompts import Prompt
from hfgi_app.types import EditRecipe, Photo

if TYPE_CHECKING:  # loaded where they are used: `--help` and wrong usage answer at once
    from hfgi_app.models import Models
    from hfgi_app.session import EditSession

RECIPE_LENGTH = 2**20
"""Characters; what is longer is no recipe."""


def edit(options: argparse.Namespace) -> None:
    _checked_out(options.out)
    recipe = _recipe(options)
    session = _opened(options, recipe.method)
    picture = session.raw(recipe) if options.raw else session.render(recipe)
    _finish(options, picture, recipe, {"faces": session.faces, "face": session.face})


def invert(options: argparse.Namespace) -> None:
    _checked_out(options.out)
    recipe = EditRecipe(method=options.method)
    session = _opened(options, recipe.method)
    _finish(options, session.raw(recipe), recipe, {"faces": session.faces, "face": session.face})


def sliders(options: argparse.Namespace) -> None:
    rows = [asdict(slider) for slider in _models(options).sliders()]
    _table(options, rows, ("name", "label", "low", "high", "unit"))


def methods(options: argparse.Namespace) -> None:
    rows = [asdict(method) for method in _models(options).methods()]
    _table(options, rows, ("name", "label", "paper"))


def catalogue(options: argparse.Namespace) -> None:
    from hfgi_app.models import CATALOGUE

    _table(options, [asdict(info) for info in CATALOGUE], ("name", "label", "note"))


def weights_list(options: argparse.Namespace) -> None:
    from hfgi_app import weights

    _table(options, [asdict(entry) for entry in weights.CATALOGUE], ("name", "repo", "licence", "about"))


def weights_fetch(options: argparse.Namespace) -> None:
    from hfgi_app import weights

    sys.stdout.write(f"{weights.fetch(weights.spec(options.name))}\n")


def weights_verify(options: argparse.Namespace) -> None:
    from hfgi_app.models import load_models

    models = load_models()
    made_of = f"{len(models.methods())} methods and {len(models.sliders())} sliders"
    sys.stdout.write(f"{models.name}: whole, with {made_of}\n")


def directions_list(options: argparse.Namespace) -> None:
    models = _models(options)
    counts = Counter(slider.family for slider in models.sliders())
    rows = [{**asdict(group), "sliders": counts[group.name]} for group in models.groups()]
    _table(options, rows, ("name", "label", "sliders", "note"))


def directions_make(options: argparse.Namespace) -> None:
    from hfgi_app.train import own

    row = own.make(options, _models(options))
    _table(options, [row], tuple(row))


def directions_name(options: argparse.Namespace) -> None:
    from hfgi_app.train import components

    components.name(options.file, options.naming)


def evaluate(options: argparse.Namespace) -> None:
    from hfgi_app.evaluate import command
    from hfgi_app.evaluate.photos import Faces
    from hfgi_app.train import fit

    if options.sheet:
        _checked_out(options.sheet)
    models = _models(options, options.ablations)
    pack = fit.read(options.images, models)
    sys.stdout.write(command.evaluate(options, models, Faces.of(pack.pictures, pack.test, pack.labels)))


def bench(options: argparse.Namespace) -> None:
    from hfgi_app.evaluate import command

    sys.stdout.write(command.speed(options, _models(options)))


def train(options: argparse.Namespace) -> None:
    from hfgi_app.evaluate.photos import Faces
    from hfgi_app.evaluate.reader import reader
    from hfgi_app.train import stages

    stages.run(options, lambda pack: reader(Faces.of(pack.pictures, pack.test, pack.labels)))


def _checked_out(out: Path) -> None:
    """Refuse an OUT that could not be written before any work is done."""
    if out.suffix.lower() not in images.EXTENSIONS:
        raise PhotoError(f"OUT must end in {', '.join(images.EXTENSIONS)}.")
    if not out.parent.is_dir():
        raise PhotoError("The folder of OUT does not exist; make it first.")


def _recipe(options: argparse.Namespace) -> EditRecipe:
    """The recipe file, if any, with --method, --set and --text on top of it."""
    recipe = _recipe_file(options.recipe) if options.recipe else EditRecipe()
    strengths = {**dict(recipe.strengths), **dict(options.set)}
    prompts = (*recipe.prompts, *map(Prompt.parse, options.text))
    return EditRecipe(tuple(strengths.items()), prompts, options.method or recipe.method, recipe.keep)


def _recipe_file(path: Path) -> EditRecipe:
    if path.suffix.lower() in images.EXTENSIONS:
        text = images.read_recipe(path)
        if text is None:
            raise RecipeError("That picture carries no recipe; only pictures exported by this program do.")
        return EditRecipe.from_json(text)
    try:
        with path.open(encoding="utf-8") as file:
            return EditRecipe.from_json(file.read(RECIPE_LENGTH))
    except (OSError, UnicodeDecodeError):
        raise RecipeError("The recipe file cannot be read; give a JSON file or an exported picture.") from None


def _models(options: argparse.Namespace, ablations: bool = False) -> Models:
    from hfgi_app.models import load_models

    own = {"checkpoint": options.checkpoint, "directions": options.directions}
    return load_models(options.model, **own, ablations=ablations)


def _opened(options: argparse.Namespace, method: str) -> EditSession:
    from hfgi_app.session import EditSession

    photo = images.read(options.photo)
    session = EditSession(_models(options))
    session.open(photo, face_index=options.face, aligned=options.aligned, progress=_progress)
    session.prepare(method, _progress)
    return session


def _finish(options: argparse.Namespace, picture: Photo, recipe: EditRecipe, facts: dict[str, Any]) -> None:
    images.write(options.out, picture, recipe.to_json())
    if options.json:
        height, width = picture.shape[:2]
        report = {"out": str(options.out), "width": width, "height": height, "recipe": json.loads(recipe.to_json())}
        sys.stdout.write(json.dumps({**report, **facts}) + "\n")


def _table(options: argparse.Namespace, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    if options.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    lines = [columns, *(tuple("-" if row[name] is None else str(row[name]) for name in columns) for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for cells in lines:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _progress(share: float, what: str) -> None:
    sys.stderr.write(f"{share:4.0%} {what}\n")
