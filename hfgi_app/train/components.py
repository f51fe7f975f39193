"""GANSpace (Haerkoenen et al. 2020) for any model: principal components of its W, looked at and given names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from hfgi_app import weights
from hfgi_app.directions.base import Facts, rows
from hfgi_app.directions.ganspace import Components, GANSpace
from hfgi_app.errors import WeightsError
from hfgi_app.models import Models
from hfgi_app.train import loop
from hfgi_app.types import Latents

FILE = "pca.safetensors"
COUNT = 80
BATCH = 5_000
POSITIONS = (-3, -2, -1, 0, 1, 2, 3)
"""Standard deviations that a sheet shows, from left to right."""
SHOWN = 128
"""Side of its pictures in pixels, where the model's own are larger."""
NAMING = re.compile(r"(?P<label>[^=]+)=\s*(?P<number>-?\d+)\s*@\s*(?P<start>\d+)\s*:\s*(?P<end>\d+)\s*")


@torch.no_grad()
def analyse(models: Models, samples: int, seed: int = 0) -> Components:
    """The principal components of mapped z, at most `COUNT`, the strongest first."""
    from sklearn.decomposition import IncrementalPCA

    dim = models.generator.config.dim
    rng = torch.Generator().manual_seed(seed)
    analysis = IncrementalPCA(min(COUNT, dim))
    for _ in tqdm(range(-(-samples // BATCH)), desc="pca", unit="batch"):
        z = torch.randn(BATCH, dim, generator=rng)
        analysis.partial_fit(models.generator.mapping(z.to(models.device)).cpu().numpy())
    mean, directions = (torch.from_numpy(array).float() for array in (analysis.mean_, analysis.components_))
    signs = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # a component has no sign of its own
    return Components(mean, directions * signs, torch.from_numpy(analysis.explained_variance_).sqrt().float())


def save(folder: Path, components: Components) -> Path:
    """Into a directions folder, without names. Raises OSError where it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"ganspace.{name}": tensor for name, tensor in vars(components).items()}
    weights.save(folder / FILE, tensors, {"config": json.dumps({"ganspace": {}})})
    return folder / FILE


def name(path: Path, namings: Iterable[str]) -> None:
    """Give a file's components these names and no others, each as "LABEL = COMPONENT @ START:END": components count
    from 1, -COMPONENT is one turned round, and rows count from 0, END left out.

    Raises ValueError for a naming of another form, WeightsError where the file has no components.
    """
    tensors, metadata = weights.load(path)
    if "ganspace.deviations" not in tensors:
        raise WeightsError(f"{path.name} holds no principal components; make them with `directions pca`.")
    described = json.loads(metadata["config"])
    described["ganspace"] = dict(_named(naming, len(tensors["ganspace.deviations"])) for naming in namings)
    weights.save(path, tensors, {**metadata, "config": json.dumps(described)})


def _named(naming: str, count: int) -> tuple[str, Facts]:
    found = NAMING.fullmatch(naming)
    if found is None or not 0 < abs(int(found["number"])) <= count or int(found["start"]) >= int(found["end"]):
        raise ValueError(f'{naming!r} is not "LABEL = COMPONENT @ START:END" with a component of 1 to {count}.')
    label, number = found["label"].strip(), int(found["number"])
    facts = {"label": label, "component": abs(number) - 1, "sign": 1 if number > 0 else -1, "unit": "SD"}
    return re.sub(r"\W+", "_", label.lower()), {**facts, "start": int(found["start"]), "end": int(found["end"])}


@torch.no_grad()
def sheet(models: Models, path: Path, numbers: range, start: int, end: int | None, crops: Sequence[Tensor]) -> None:
    """A picture with one line for each of the components `numbers`, counted from 1, on rows start..end-1, at
    `POSITIONS`: of the average face, or of each of the crops 1 x 3 x S x S in turn.

    Raises WeightsError where the model has no such components.
    """
    space = models.families.get(GANSpace.group.name)
    if not isinstance(space, GANSpace) or numbers.stop - 1 > len(space.components.deviations):
        raise WeightsError("The model has no such components; make them with `directions pca`.")
    faces = [models.encoder(crop.to(models.device))[0] for crop in crops] or [models.encoder.latent_avg[None]]
    parts, lines = space.components, []
    for number in numbers:
        step = (parts.deviations[number - 1] * parts.directions[number - 1]).to(models.device)
        move = rows(step, faces[0].shape[1], start, end)
        lines += [torch.cat([_picture(models, codes + position * move) for position in POSITIONS]) for codes in faces]
    loop.sheet(path, lines)


def _picture(models: Models, codes: Tensor) -> Tensor:
    return models.generator.picture(Latents(codes), stop_at=SHOWN)
