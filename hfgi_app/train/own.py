"""Directions of one's own, as the command line makes them: each gives the row that is shown."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from hfgi_app import face, images
from hfgi_app.models import Models
from hfgi_app.train import components, fit, relevance, samples

Row = dict[str, object]


def make(options: argparse.Namespace, models: Models) -> Row:
    """Do what `options.make` says."""
    return MAKERS[options.make](options, models)


def _fit(options: argparse.Namespace, models: Models) -> Row:
    pack = fit.read(options.source, models)
    if options.column not in pack.labels:
        known = ", ".join(pack.labels) or "none"
        raise ValueError(f"There is no column {options.column!r} of numbers or two words; there are {known}.")
    held = fit.held(models, options.hold)
    found = fit.boundary(fit.codes(models, pack)[~pack.test], pack.labels[options.column][~pack.test], options.share)
    direction = fit.conditional(found.normal[None], held) if held else found.normal[None]
    name = options.name or options.column
    path = fit.save(options.out, name, options.label or name.replace("_", " ").capitalize(), direction, found.spread)
    return {"file": str(path), "accuracy": found.accuracy, "fitted": found.fitted, "held_out": found.held_out}


def _samples(options: argparse.Namespace, models: Models) -> Row:
    samples.write(models, options.out, options.count, options.seed)
    return {"folder": str(options.out), "faces": options.count}


def _pca(options: argparse.Namespace, models: Models) -> Row:
    found = components.analyse(models, options.samples, options.seed)
    return {"file": str(components.save(options.out, found)), "components": len(found.deviations)}


def _sheet(options: argparse.Namespace, models: Models) -> Row:
    crops = [face.whole(images.read(photo), models.encoder_size).crop for photo in options.photos]
    start, end = options.rows
    components.sheet(models, options.out, range(*options.components), start, end, crops)
    return {"file": str(options.out)}


def _styleclip(options: argparse.Namespace, models: Models) -> Row:
    if options.source is None:
        codes = relevance.sampled(models)
    else:
        codes = relevance.encoded(models, fit.read(options.source, models))
    words = relevance.text_model(models)
    path = relevance.save_for(models, codes, words, options.out, options.faces)
    return {"file": str(path), "text_model": words.name, "faces": options.faces}


MAKERS: Mapping[str, Callable[[argparse.Namespace, Models], Row]] = {
    "fit": _fit,
    "samples": _samples,
    "pca": _pca,
    "sheet": _sheet,
    "styleclip": _styleclip,
}
