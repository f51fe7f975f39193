"""The stages by name, as the command line starts them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from hfgi_app.models import pick_device
from hfgi_app.train import (
    calibrate,
    data,
    directions,
    export,
    generator,
    hfgi,
    reganie,
    relevance,
    restyle,
    styleres,
    wagi,
    words,
)

LEARNERS = {"hfgi": hfgi, "styleres": styleres, "reganie": reganie, "wagi": wagi, "restyle": restyle, "words": words}
"""One stage a refinement method, and the text model: a module with its Plan and train."""


def run(options: argparse.Namespace, judge: Callable[[data.Pack], calibrate.Read]) -> None:
    """Run `options.stage` in the folder `options.run`; the pack lies there as pack.npz.

    judge: makes what reads attributes of faces, from a pack that teaches it.
    """
    device = pick_device(options.device)
    length = {} if options.pictures is None else {"pictures": options.pictures}
    pack = options.run / "pack.npz"
    if options.stage == "data":
        data.make(options.folders, pack, options.size)
    elif options.stage == "generator":
        generator.train(data.load(pack), options.run, generator.Plan(size=options.size, **length), device)
    elif options.stage in LEARNERS:
        learner = LEARNERS[options.stage]
        learner.train(data.load(pack), options.run, learner.Plan(size=options.size, **length), device)
    elif options.stage == "directions":
        directions.train(data.load(pack), options.run, options.size, device)
    elif options.stage == "relevance":
        relevance.train(data.load(pack), options.run, options.size, device)
    elif options.stage == "calibrate":
        calibrate.calibrate(options.weights, data.load(pack), judge, device)
    elif options.stage == "export":
        export.export(options.run, options.size, options.weights)
    else:
        export.restore(options.run, options.weights)
