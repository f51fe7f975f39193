"""InterfaceGAN (Shen et al. 2020): a direction of one's own, from labelled pictures or scored samples.

The codes of the faces with most and least of something are told apart by a linear support vector machine; the unit
normal of its boundary is the direction. Written from the paper; scikit-learn does the fitting.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.errors import RecipeError
from hfgi_app.models import Models
from hfgi_app.train import data, samples

HELD_OUT = 0.3
LEAST = 5
MARGIN = 0.01
REACH = 3
"""A slider ends where the direction leaves this many standard deviations of the codes behind."""
BATCH = 16


@dataclass(frozen=True, eq=False)
class Boundary:
    """normal: D, unit length. accuracy: share of the held-out codes that lie on their side. fitted, held_out: codes.
    spread: standard deviation of all codes along the normal."""

    normal: Tensor
    accuracy: float
    fitted: int
    held_out: int
    spread: float


def read(source: Path, models: Models) -> data.Pack:
    """A training pack, or a folder of aligned pictures with labels.csv, at the size the encoder reads."""
    return data.load(source) if source.suffix == ".npz" else data.gather([source], models.encoder_size)


@torch.no_grad()
def codes(models: Models, pack: data.Pack) -> Tensor:
    """One code a picture, N x D: the mapped z of its `seed` where the labels have one, else what the encoder reads in
    the picture, the mean of its rows."""
    if "seed" in pack.labels:
        return torch.cat([samples.mapped(models, int(seed)) for seed in pack.labels["seed"]]).cpu()
    parts = torch.arange(len(pack.pictures)).split(BATCH)
    crops = (pack.batch(part, models.encoder_size, models.device) for part in parts)
    return torch.cat([models.encoder(crop)[0].mean(1).cpu() for crop in crops])


def boundary(codes: Tensor, values: Tensor, share: float, seed: int = 0) -> Boundary:
    """Tell apart the codes N x D with the highest and the lowest values N; NaN is left out.

    share: of the known codes taken from each end where below 1, else their number. Raises ValueError where that leaves
    too few.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    known = (~values.isnan()).nonzero()[:, 0]
    order = known[values[known].argsort(stable=True)]
    ranked = values[order]
    rarer = min(int((ranked > ranked[:1]).sum()), int((ranked < ranked[-1:]).sum()))  # of two words; else nearly all
    count = min(int(share * len(order)) if share < 1 else int(share), len(order) // 2, rarer)
    low, high = order[:count], order[len(order) - count :]
    if count < LEAST:
        raise ValueError(f"Too few faces differ in that column; {LEAST} are needed at each end.")
    chosen, sides = torch.cat((low, high)).numpy(), [0] * count + [1] * count
    fitted, held_out, sides_fitted, sides_held_out = train_test_split(
        chosen, sides, test_size=HELD_OUT, random_state=seed, stratify=sides
    )
    machine = make_pipeline(StandardScaler(), LinearSVC(C=MARGIN, random_state=seed, max_iter=10_000))
    machine.fit(codes[fitted].numpy(), sides_fitted)
    # The boundary lies in standardised codes: its normal in codes as they are is the gradient there.
    slope = machine[1].coef_[0] / machine[0].scale_
    normal = torch.nn.functional.normalize(torch.from_numpy(slope), dim=0).float()
    accuracy = float(machine.score(codes[held_out].numpy(), sides_held_out))
    return Boundary(normal, accuracy, len(fitted), len(held_out), float((codes @ normal).std()))


def conditional(direction: Tensor, held: Sequence[Tensor]) -> Tensor:
    """The direction n1 without what it shares with others A: n1 - A^T (A A^T)^-1 A n1, at unit length a row.

    All are 1 x D, or L x D where one differs from row to row. Raises ValueError where nothing is left.
    """
    rows = max(len(one) for one in (direction, *held))
    n1, *others = (one.expand(rows, -1).flatten().double() for one in (direction, *held))
    shared = torch.stack(others)
    left = n1 - shared.T @ torch.linalg.lstsq(shared @ shared.T, shared @ n1).solution
    if left.norm() < 1e-3 * n1.norm():
        raise ValueError("Nothing of that direction is left beside those that are held.")
    unit: Tensor = left / left.norm() * rows**0.5
    return unit.reshape(rows, -1).float()


def held(models: Models, names: Iterable[str]) -> list[Tensor]:
    """The directions behind these sliders of the family, each 1 x D or L x D. Raises RecipeError for any other."""
    family = models.families.get(InterfaceGAN.group.name)
    known = family.directions if isinstance(family, InterfaceGAN) else {}
    parts = [name.partition("/") for name in names]
    for family_name, _, name in parts:
        if family_name != InterfaceGAN.group.name or name not in known:
            raise RecipeError(f"Only directions of this model's {InterfaceGAN.group.name} can be held, not {name!r}.")
    return [known[name].reshape(-1, models.generator.config.dim) for _, _, name in parts]


def save(folder: Path, name: str, label: str, direction: Tensor, spread: float) -> Path:
    """Into a directions folder, its slider `REACH` times the spread. Raises OSError where it cannot be written."""
    step = float(f"{REACH * spread / 50:.1g}")
    facts = {"label": label, "low": -50 * step, "high": 50 * step, "step": step}
    folder.mkdir(parents=True, exist_ok=True)
    family, path = InterfaceGAN.group.name, folder / f"{name}.safetensors"
    weights.save(path, {f"{family}.{name}": direction}, {"config": json.dumps({family: {name: facts}})})
    return path
