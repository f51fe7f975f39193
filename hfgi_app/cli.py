"""The command line: parse, call the session, show.

Results go to standard output, progress and errors to standard error.
Exit codes: 0 done; 1 with one last line `hfgi: what is wrong, what to do`; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfgi_app import images
from hfgi_app.errors import HfgiError, PhotoError, RecipeError
from hfgi_app.prompts import Prompt
from hfgi_app.types import EditRecipe, Photo

if TYPE_CHECKING:  # loaded where they are used: `--help` and wrong usage answer at once
    from hfgi_app.models import Models
    from hfgi_app.session import EditSession

ONE_VALUE = "print one JSON value and nothing else"
RECIPE_LENGTH = 2**20
"""Characters; what is longer is no recipe."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (HfgiError, OSError, ValueError) as error:
        said = " ".join(str(error).split())
    except KeyboardInterrupt:
        said = "stopped"
    else:
        return 0
    sys.stderr.write(f"hfgi: {said}\n")  # out here what failed is gone, and its progress bars with it
    return 1


def _edit(options: argparse.Namespace) -> None:
    _checked_out(options.out)
    recipe = _recipe(options)
    session = _opened(options, recipe.method)
    picture = session.raw(recipe) if options.raw else session.render(recipe)
    _finish(options, picture, recipe, {"faces": session.faces, "face": session.face})


def _invert(options: argparse.Namespace) -> None:
    _checked_out(options.out)
    recipe = EditRecipe(method=options.method)
    session = _opened(options, recipe.method)
    _finish(options, session.raw(recipe), recipe, {"faces": session.faces, "face": session.face})


def _sliders(options: argparse.Namespace) -> None:
    rows = [asdict(slider) for slider in _models(options).sliders()]
    _table(options, rows, ("name", "label", "low", "high", "unit"))


def _methods(options: argparse.Namespace) -> None:
    rows = [asdict(method) for method in _models(options).methods()]
    _table(options, rows, ("name", "label", "paper"))


def _catalogue(options: argparse.Namespace) -> None:
    from hfgi_app.models import CATALOGUE

    _table(options, [asdict(info) for info in CATALOGUE], ("name", "label", "note"))


def _weights_list(options: argparse.Namespace) -> None:
    from hfgi_app import weights

    _table(options, [asdict(entry) for entry in weights.CATALOGUE], ("name", "repo", "licence", "about"))


def _weights_fetch(options: argparse.Namespace) -> None:
    from hfgi_app import weights

    sys.stdout.write(f"{weights.fetch(weights.spec(options.name))}\n")


def _weights_verify(options: argparse.Namespace) -> None:
    from hfgi_app.models import load_models

    models = load_models()
    made_of = f"{len(models.methods())} methods and {len(models.sliders())} sliders"
    sys.stdout.write(f"{models.name}: whole, with {made_of}\n")


def _directions_list(options: argparse.Namespace) -> None:
    models = _models(options)
    counts = Counter(slider.family for slider in models.sliders())
    rows = [{**asdict(group), "sliders": counts[group.name]} for group in models.groups()]
    _table(options, rows, ("name", "label", "sliders", "note"))


def _directions_make(options: argparse.Namespace) -> None:
    from hfgi_app.train import own

    row = own.make(options, _models(options))
    _table(options, [row], tuple(row))


def _directions_name(options: argparse.Namespace) -> None:
    from hfgi_app.train import components

    components.name(options.file, options.naming)


def _evaluate(options: argparse.Namespace) -> None:
    from hfgi_app.evaluate import command
    from hfgi_app.evaluate.photos import Faces
    from hfgi_app.train import fit

    if options.sheet:
        _checked_out(options.sheet)
    models = _models(options)
    pack = fit.read(options.images, models)
    sys.stdout.write(command.evaluate(options, models, Faces.of(pack.pictures, pack.test, pack.labels)))


def _bench(options: argparse.Namespace) -> None:
    from hfgi_app.evaluate import command

    sys.stdout.write(command.speed(options, _models(options)))


def _train(options: argparse.Namespace) -> None:
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


def _models(options: argparse.Namespace) -> Models:
    from hfgi_app.models import load_models

    return load_models(options.model, checkpoint=options.checkpoint, directions=options.directions)


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


def _strength(text: str) -> tuple[str, float]:
    name, separator, value = text.rpartition("=")
    if not separator or "/" not in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY/NAME=STRENGTH")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is not a number") from None


def _span(text: str) -> tuple[int, int]:
    start, _, end = text.partition(":")
    try:
        return int(start), int(end)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START:END") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hfgi_app", description="Edit faces and keep what makes the photo.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _edit_parser(commands)
    invert = _command(commands, "invert", _invert, "the face as a method rebuilds it, nothing edited")
    _photo_arguments(invert)
    invert.add_argument("--method", default=EditRecipe().method)
    for name, run, text in (
        ("sliders", _sliders, "the model's sliders"),
        ("methods", _methods, "the model's refinement methods"),
        ("models", _catalogue, "the models"),
    ):
        listing = _command(commands, name, run, text)
        _model_arguments(listing)
    _weights_parser(commands)
    _directions_parser(commands)
    _measuring_parsers(commands)
    _train_parser(commands)
    return parser


def _weights_parser(commands: Any) -> None:  # noqa: ANN401
    stored = commands.add_parser("weights", help="list, fetch or verify weights")
    actions = stored.add_subparsers(required=True, metavar="ACTION")
    listing = _command(actions, "list", _weights_list, "the published weights files")
    listing.add_argument("--json", action="store_true", help=ONE_VALUE)
    fetching = _command(actions, "fetch", _weights_fetch, "download a published file and print its path")
    fetching.add_argument("name", help="see `weights list`")
    _command(actions, "verify", _weights_verify, "check that the embedded model is whole")


def _directions_parser(commands: Any) -> None:  # noqa: ANN401
    kept = commands.add_parser("directions", help="list a model's families of sliders, make directions of your own")
    actions = kept.add_subparsers(required=True, metavar="ACTION")
    _model_arguments(_command(actions, "list", _directions_list, "the model's families of sliders"))
    fit = _command(actions, "fit", _directions_make, "an InterfaceGAN direction from labelled or scored pictures")
    fit.add_argument("source", type=Path, help="folder with labels.csv, or a training pack")
    fit.add_argument("column", help="of labels.csv: numbers, or two words")
    fit.add_argument("--name", help="of the slider (the column's)")
    fit.add_argument("--label", help="what the page calls it")
    fit.add_argument("--share", type=float, default=0.25, help="of the faces taken from each end, or their number")
    fit.add_argument(
        "--hold", action="append", default=[], metavar="FAMILY/NAME", help="a slider it must not bring along"
    )
    samples = _command(actions, "samples", _directions_make, "pictures of the model's own faces, to be scored")
    samples.add_argument("count", type=int)
    pca = _command(actions, "pca", _directions_make, "GANSpace: the principal components of the model's codes")
    pca.add_argument("--samples", type=int, default=100_000)
    sheet = _command(actions, "sheet", _directions_make, "a picture of components from -3 to +3 deviations")
    sheet.add_argument("photos", nargs="*", type=Path, help="aligned photos (the average face)")
    sheet.add_argument("--components", type=_span, default=(1, 9), metavar="FIRST:END", help="from 1, END left out")
    sheet.add_argument("--rows", type=_span, default=(0, None), metavar="START:END", help="from 0, END left out (all)")
    styleclip = _command(actions, "styleclip", _directions_make, "what typed prompts need, for this very model")
    styleclip.add_argument("source", nargs="?", type=Path, help="folder of aligned pictures, or a pack (samples)")
    styleclip.add_argument("--faces", type=int, default=16, help="in which every channel of style is tried")
    made = {"fit": fit, "samples": samples, "pca": pca, "sheet": sheet, "styleclip": styleclip}
    for make, action in made.items():
        out = "picture to write" if make == "sheet" else "folder to write to"
        action.add_argument("-o", dest="out", type=Path, required=True, metavar="OUT", help=out)
        action.set_defaults(make=make)
        _model_arguments(action)
    for action in (samples, pca):
        action.add_argument("--seed", type=int, default=0)
    name = _command(actions, "name", _directions_name, "give the components in a file their names, and no others")
    name.add_argument("file", type=Path)
    name.add_argument("naming", nargs="+", metavar='"LABEL = COMPONENT @ START:END"')


def _measuring_parsers(commands: Any) -> None:  # noqa: ANN401
    evaluate = _command(commands, "evaluate", _evaluate, "measure every method on test faces")
    evaluate.add_argument("images", type=Path, help="folder of aligned square pictures, or a training pack")
    evaluate.add_argument("--sheet", type=Path, metavar="OUT", help="write a sheet of pictures too")
    evaluate.add_argument("--limit", type=int, metavar="N", help="so many test faces (all)")
    for measure in (evaluate, _command(commands, "bench", _bench, "measure how long a user waits")):
        measure.add_argument("--method", action="append", default=[], help="may be given again (all but slow ones)")
        _model_arguments(measure)


def _train_parser(commands: Any) -> None:  # noqa: ANN401
    training = _command(commands, "train", _train, "train a model of your own, one stage a command")
    methods = ("hfgi", "styleres", "reganie", "wagi", "restyle")
    stages = ("data", "generator", *methods, "directions", "words", "relevance", "export", "calibrate", "restore")
    training.add_argument("stage", choices=stages)
    training.add_argument("folders", nargs="*", type=Path, help="data: folders of aligned pictures")
    training.add_argument("--run", type=Path, default=Path("runs/portrait"), help="where the run lives")
    training.add_argument("--size", type=int, default=128, choices=(32, 64, 128), help="side of the pictures in pixels")
    training.add_argument("--pictures", type=int, help="train until this many pictures were seen")
    training.add_argument(
        "--weights", type=Path, default=Path("weights/portrait"), help="shipped files (export, calibrate, restore)"
    )
    training.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _edit_parser(commands: Any) -> None:  # noqa: ANN401
    edit = _command(commands, "edit", _edit, "edit a photo")
    _photo_arguments(edit)
    edit.add_argument("--set", action="append", default=[], type=_strength, metavar="FAMILY/NAME=STRENGTH")
    edit.add_argument("--text", action="append", default=[], metavar='"NEUTRAL -> TARGET = STRENGTH [@ BETA]"')
    edit.add_argument("--recipe", type=Path, help="a recipe as JSON, or a picture exported with one")
    edit.add_argument("--method", help="refinement method; see `methods`")
    edit.add_argument("--raw", action="store_true", help="the method's own render, nothing composited")


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    command.set_defaults(command=run)
    return command


def _photo_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("photo", type=Path)
    command.add_argument("-o", dest="out", type=Path, required=True, metavar="OUT")
    command.add_argument("--face", type=int, metavar="N", help="which face, left to right from 0 (the largest)")
    command.add_argument("--aligned", action="store_true", help="the photo already is an FFHQ-aligned square crop")
    _model_arguments(command)


def _model_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="portrait")
    command.add_argument("--checkpoint", type=Path, help="a published file in its published layout")
    command.add_argument("--directions", type=Path, help="folder of published directions or of your own")
    command.add_argument("--json", action="store_true", help=ONE_VALUE)
