"""Shared by the tests of training stages: made-up pictures, tiny plans, runs of one stage on them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from PIL import Image

from hfgi_app.images import to_tensor
from hfgi_app.models import Models, embedded_tensors
from hfgi_app.train import data, export, generator, hfgi, refiner
from hfgi_app.train.loop import load

CPU = torch.device("cpu")
SIZE, COUNT = 32, 12
PLAN = generator.Plan(
    size=SIZE,
    pictures=12,
    batch=4,
    dim=8,
    channels=(8, 8, 8, 6, 4),
    encoder_widths=(4, 4, 4, 6, 8),
    head_width=4,
    base_width=6,
    critic_channels=(8, 8, 8, 6, 4),
    critic_every=1,
    r1_every=1,
    matching_every=1,
    matching_from=4,
    adversarial_from=4,
    save_every=8,
)
METHOD: dict[str, Any] = {
    "size": SIZE,
    "pictures": 12,
    "batch": 4,
    "critic_channels": PLAN.critic_channels,
    "critic_every": 1,
    "r1_every": 2,
    "save_every": 8,
}
"""Of every refinement method's tiny plan."""
FOLLOWING: dict[str, Any] = METHOD | {"movement_width": 4, "stillness_width": 4}
"""And of those that follow edits."""
CONSULT = hfgi.Plan(
    **FOLLOWING,
    alignment_widths=(4, 4, 4, 4),
    consultation_widths=(2, 4, 4),
    head_width=4,
)


def save_pictures(folder: Path, side: int = 64) -> None:
    """A dozen soft pictures whose brightness is their age, and a table that says so."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(COUNT):
        light = tiny.photo(side, side, seed=number).astype(int) // 2 + 8 * number
        Image.fromarray(light.astype(np.uint8)).save(folder / f"face{number:02}.png")
        age = "" if number == 5 else str(20 + 3 * number)
        gender = ("woman", "man")[number % 2]
        rows.append(
            (f"face{number:02}.png", "test" if number > 9 else "train", 70 if number % 3 else 30, age, gender, "")
        )
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "split", "native_crop_px", "age_est", "gender", "yaw"))
        writer.writerows(rows)


def gathered(folder: Path) -> data.Pack:
    """A pack of such pictures at the size of the plans."""
    save_pictures(folder / "faces")
    return data.make([folder / "faces"], folder / "pack.npz", SIZE)


def run_of(stage, plan: refiner.Plan, pack: data.Pack, folder: Path) -> Path:
    """A run in which the generator and one method's stage have run; nothing may train on in it."""
    generator.train(pack, folder, replace(PLAN, pictures=4), CPU)
    stage.train(pack, folder, plan, CPU)
    return folder


def check_export(run: Path, base: refiner.Base, learner: refiner.Learner, folder: Path) -> None:
    """The exported method renders an edit as its learner does with averaged weights."""
    shipped = folder / "portrait"
    export.export(run, SIZE, shipped)
    assert {path.name for path in shipped.iterdir()} == {"base.safetensors", f"{learner.name}.safetensors"}
    tensors, config = embedded_tensors(shipped)
    models = Models(tiny.INFO, tensors, config, {}, CPU)
    learner.networks.load_state_dict(load(run / f"{learner.name}.pt")["average"])
    learner.networks.eval()
    photo = to_tensor(tiny.photo(SIZE, SIZE))
    inversion, method = models.invert(photo), models.refiner(learner.name)
    with torch.no_grad():
        change = base.edit(inversion, inversion.codes + 0.1)
        expected = learner.render(base, base.invert(photo), change)
        made = method.render(method.consult(inversion), change)
    torch.testing.assert_close(made, expected, atol=0.02, rtol=0.02)  # shipped in half precision


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def same(one: object, other: object) -> bool:
    """Equal bit for bit, through dictionaries, lists and tuples."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
