"""The words of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfgi_app.cli import commands
from hfgi_app.types import EditRecipe

Run = Callable[[argparse.Namespace], None]
ONE_VALUE = "print one JSON value and nothing else"


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


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m hfgi_app", description="Edit faces and keep what makes the photo.")
    subparsers = root.add_subparsers(required=True, metavar="COMMAND")
    _edit_parser(subparsers)
    invert = _command(subparsers, "invert", commands.invert, "the face as a method rebuilds it, nothing edited")
    _photo_arguments(invert)
    invert.add_argument("--method", default=EditRecipe().method)
    for name, run, text in (
        ("sliders", commands.sliders, "the model's sliders"),
        ("methods", commands.methods, "the model's refinement methods"),
        ("models", commands.catalogue, "the models"),
    ):
        listing = _command(subparsers, name, run, text)
        _model_arguments(listing)
    _weights_parser(subparsers)
    _directions_parser(subparsers)
    _measuring_parsers(subparsers)
    _train_parser(subparsers)
    return root


def _weights_parser(subparsers: Any) -> None:  # noqa: ANN401
    stored = subparsers.add_parser("weights", help="list, fetch or verify weights")
    actions = stored.add_subparsers(required=True, metavar="ACTION")
    listing = _command(actions, "list", commands.weights_list, "the published weights files")
    listing.add_argument("--json", action="store_true", help=ONE_VALUE)
    fetching = _command(actions, "fetch", commands.weights_fetch, "download a published file and print its path")
    fetching.add_argument("name", help="see `weights list`")
    _command(actions, "verify", commands.weights_verify, "check that the embedded model is whole")


def _directions_parser(subparsers: Any) -> None:  # noqa: ANN401
    kept = subparsers.add_parser("directions", help="list a model's families of sliders, make directions of your own")
    actions = kept.add_subparsers(required=True, metavar="ACTION")
    _model_arguments(_command(actions, "list", commands.directions_list, "the model's families of sliders"))
    fit = _command(
        actions, "fit", commands.directions_make, "an InterfaceGAN direction from labelled or scored pictures"
    )
    fit.add_argument("source", type=Path, help="folder with labels.csv, or a training pack")
    fit.add_argument("column", help="of labels.csv: numbers, or two words")
    fit.add_argument("--name", help="of the slider (the column's)")
    fit.add_argument("--label", help="what the page calls it")
    fit.add_argument("--share", type=float, default=0.25, help="of the faces taken from each end, or their number")
    fit.add_argument(
        "--hold", action="append", default=[], metavar="FAMILY/NAME", help="a slider it must not bring along"
    )
    samples = _command(actions, "samples", commands.directions_make, "pictures of the model's own faces, to be scored")
    samples.add_argument("count", type=int)
    pca = _command(actions, "pca", commands.directions_make, "GANSpace: the principal components of the model's codes")
    pca.add_argument("--samples", type=int, default=100_000)
    sheet = _command(actions, "sheet", commands.directions_make, "a picture of components from -3 to +3 deviations")
    sheet.add_argument("photos", nargs="*", type=Path, help="aligned photos (the average face)")
    sheet.add_argument("--components", type=_span, default=(1, 9), metavar="FIRST:END", help="from 1, END left out")
    sheet.add_argument("--rows", type=_span, default=(0, None), metavar="START:END", help="from 0, END left out (all)")
    styleclip = _command(actions, "styleclip", commands.directions_make, "what typed prompts need, for this very model")
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
    name = _command(
        actions, "name", commands.directions_name, "give the components in a file their names, and no others"
    )
    name.add_argument("file", type=Path)
    name.add_argument("naming", nargs="+", metavar='"LABEL = COMPONENT @ START:END"')


def _measuring_parsers(subparsers: Any) -> None:  # noqa: ANN401
    evaluate = _command(subparsers, "evaluate", commands.evaluate, "measure every method on test faces")
    evaluate.add_argument("images", type=Path, help="folder of aligned square pictures, or a training pack")
    evaluate.add_argument("--sheet", type=Path, metavar="OUT", help="write a sheet of pictures too")
    evaluate.add_argument("--ablations", action="store_true", help="methods with a part left out, too")
    evaluate.add_argument("--limit", type=int, metavar="N", help="so many test faces (all)")
    for measure in (evaluate, _command(subparsers, "bench", commands.bench, "measure how long a user waits")):
        measure.add_argument("--method", action="append", default=[], help="may be given again (all but slow ones)")
        _model_arguments(measure)


def _train_parser(subparsers: Any) -> None:  # noqa: ANN401
    training = _command(subparsers, "train", commands.train, "train a model of your own, one stage a command")
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


def _edit_parser(subparsers: Any) -> None:  # noqa: ANN401
    edit = _command(subparsers, "edit", commands.edit, "edit a photo")
    _photo_arguments(edit)
    edit.add_argument("--set", action="append", default=[], type=_strength, metavar="FAMILY/NAME=STRENGTH")
    edit.add_argument("--text", action="append", default=[], metavar='"NEUTRAL -> TARGET = STRENGTH [@ BETA]"')
    edit.add_argument("--recipe", type=Path, help="a recipe as JSON, or a picture exported with one")
    edit.add_argument("--method", help="refinement method; see `methods`")
    edit.add_argument("--raw", action="store_true", help="the method's own render, nothing composited")


def _command(subparsers: Any, name: str, run: Run, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    command: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text.capitalize() + ".")
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
