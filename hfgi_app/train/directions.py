"""Stage `directions`: one vector of W+ per slider, from the codes of labelled photos.

As InterfaceGAN (Shen et al. 2020) a direction is a fixed step in latent space. It is fitted here not as the normal of a
classifier's boundary but by least squares of the codes on the labels: with a thousand photos and thousands of code
entries a boundary's normal is mostly noise, while a regression coefficient is the mean change of the codes per unit of
one label with the others held, which is also what conditional projection is for. So a strength counts label units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.train import data
from hfgi_app.train.loop import Log, State, load, save

CONTROLS = (
    "smile", "yaw", "pitch", "mouth_open", "eyes_open", "glasses_score", "age_est", "gender",
    "skin_L", "hair_L", "hair_chroma", "bg_L", "native_crop_px",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A slider to fit: the label, what a judge calls it, what is held fixed beside it, how it is shown.

    free: labels that may follow it (an opening mouth belongs to a smile). per: label units in one unit of the slider.
    rows: of W+ that it moves; where these are not all, nothing moves along what the labels that are held do either:
    among people they go with this one. reach: where the slider ends, in standard deviations of the codes along it;
    further out pictures stop being faces.
    """

    label: str
    attribute: str
    shown: str
    unit: str
    low: float
    high: float
    step: float
    free: tuple[str, ...] = ()
    per: float = 1.0
    rows: tuple[int, int | None] = (0, None)
    reach: float = 2.5


TARGETS: Mapping[str, Target] = {
    "age": Target("age_est", "age", "Age", "yr", -25, 25, 0.25, free=("hair_L", "hair_chroma", "skin_L")),
    "smile": Target("smile", "smile", "Smile", "SD", -2.5, 2.5, 0.02, free=("mouth_open",), rows=(2, 8), reach=3),
    "pose": Target("yaw", "yaw", "Turn head", "°", -15, 15, 0.1, rows=(0, 8)),
    "pitch": Target("pitch", "pitch", "Raise chin", "°", -10, 10, 0.1, rows=(0, 8), reach=3),
    "mouth": Target(
        "mouth_open", "mouth_open", "Open mouth", "%", -20, 20, 0.25, free=("smile",), per=0.01, rows=(2, 9), reach=3.5
    ),
    "eyes": Target("eyes_open", "eyes_open", "Open eyes", "%", -10, 10, 0.05, per=0.01, rows=(3, 8), reach=5.5),
    "glasses": Target(
        "glasses", "glasses", "Glasses", "", -1.5, 1.5, 0.02, free=("glasses_score", "eyes_open"), reach=3.75
    ),
    "hair": Target("hair_L", "hair", "Hair lightness", "L*", -40, 40, 0.5, free=("hair_chroma",)),
}
RIDGE = 1e-2


def fit(codes: Tensor, labels: Mapping[str, Tensor], target: Target) -> Tensor:
    """Mean change of the codes N x L x D per unit of a label N, the other labels held: L x D.

    Uses the photos on which the target and every control are known; a control that most of these lack is left out.
    """
    wanted = labels[target.label]
    names = [n for n in CONTROLS if n in labels and n != target.label and n not in target.free]
    known = ~wanted.isnan()
    names = [n for n in names if float(labels[n][known].isnan().float().mean()) < 0.1]
    for name in names:
        known = known & ~labels[name].isnan()
    columns = torch.stack([wanted[known], *(labels[name][known] for name in names)], 1).double()
    spread = columns.std(0).clamp(min=1e-9)
    design = (columns - columns.mean(0)) / spread
    answers = codes[known].flatten(1).double()
    gram = design.T @ design + RIDGE * len(design) * torch.eye(design.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, design.T @ (answers - answers.mean(0)))
    direction: Tensor = weights[0] / spread[0] * target.per
    if target.rows == (0, None):
        return direction.reshape(codes.shape[1:]).float()
    held = torch.linalg.qr(weights[1:].T).Q  # conditional projection (InterfaceGAN, section 3.2)
    apart = (direction - held @ (held.T @ direction)).reshape(codes.shape[1:]).float()
    kept = torch.zeros_like(apart)
    kept[slice(*target.rows)] = apart[slice(*target.rows)]
    return kept


def deviation(codes: Tensor, direction: Tensor) -> float:
    """Multiples of a direction L x D in one standard deviation of the codes N x L x D along it."""
    return float(((codes * direction).sum((1, 2)) / direction.square().sum()).std())


@torch.no_grad()
def encode(pack: data.Pack, base: State, size: int, device: torch.device) -> Tensor:
    """Codes of every picture of the pack and of its mirror image, averaged weights: 2N x L x D."""
    encoder = E4EEncoder(EncoderConfig(**base["encoder_config"]))
    encoder.load_state_dict(base["encoder_average"])
    encoder.to(device).eval()
    parts = torch.arange(len(pack.pictures)).split(32)
    pictures = [pack.batch(part, size, device) for part in parts]
    return torch.cat([encoder(p)[0].cpu() for p in pictures] + [encoder(p.flip(3))[0].cpu() for p in pictures])


def train(pack: data.Pack, run: Path, size: int, device: torch.device) -> None:
    """Fit every target whose label the pack has, on the training pictures and their mirror images.

    Raises FileNotFoundError where the generator stage has not run, ValueError where the pack has no label to fit.
    """
    base = load(run / f"generator{size}.pt")
    if base is None:
        raise FileNotFoundError(f"Train the generator at {size} px first.")
    train_rows = torch.cat((~pack.test, ~pack.test))
    labels = {
        name: torch.cat((values, -values if name == "yaw" else values))[train_rows]
        for name, values in pack.labels.items()
    }
    codes = encode(pack, base, size, device)[train_rows]
    directions = {name: fit(codes, labels, t) for name, t in TARGETS.items() if t.label in labels}
    if not directions:
        raise ValueError("The pack has no labels; directions need a labels.csv with age_est, smile or yaw.")
    reach = {name: TARGETS[name].reach * deviation(codes, direction) for name, direction in directions.items()}
    save(run / "directions.pt", {"directions": directions, "reach": reach})
    lengths = {name: float(direction.norm()) for name, direction in directions.items()}
    Log(run / "log.jsonl").write(stage="directions", **lengths)


def ends(run: Path) -> Tensor | None:
    """Where the run's sliders end, K x L x D; None before this stage has run."""
    fitted = load(run / "directions.pt")
    if fitted is None:
        return None
    return torch.stack([fitted["reach"][name] * direction for name, direction in fitted["directions"].items()])


def facts(names: list[str]) -> dict[str, dict[str, object]]:
    """How the sliders of these directions are shown, and what the stage `calibrate` is to measure of them."""
    shown = {"label": "shown", "unit": "unit", "low": "low", "high": "high", "step": "step"}
    measured = {"attribute": "attribute", "per": "per", "reach": "reach"}
    fields = {**shown, **measured}
    return {name: {fact: getattr(TARGETS[name], field) for fact, field in fields.items()} for name in names}
