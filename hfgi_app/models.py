"""Every loaded network, read-only and shared by all users, and the catalogue of models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfgi_app import layouts, weights
from hfgi_app.directions import build, merged
from hfgi_app.directions.base import Family
from hfgi_app.directions.styleclip import StyleCLIP
from hfgi_app.errors import HfgiError, RecipeError, WeightsError
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.refine import ABLATIONS, REFINERS
from hfgi_app.refine.base import Refiner, invert
from hfgi_app.types import Group, Inversion, Method, Slider

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """One row of the catalogue."""

    name: str
    label: str
    note: str


CATALOGUE = (
    ModelInfo(
        "portrait",
        "Portrait 128",
        "Embedded model, 128 px, trained by this project on about 1,900 official portraits: small, and biased like "
        "them.",
    ),
    ModelInfo(
        "ffhq-1024",
        "FFHQ 1024",
        "The published 1024 px networks, fetched or from a checkpoint of your own; seconds an edit without a GPU.",
    ),
)


class Models:
    """Generator, encoder, refinement methods and direction families of one model.

    Nothing is written after construction; sessions share it.
    """

    def __init__(
        self,
        info: ModelInfo,
        tensors: Mapping[str, Tensor],
        config: Mapping[str, Any],
        families: Mapping[str, Family],
        device: torch.device,
        *,
        ablations: bool = False,
    ) -> None:
        """ablations: offer methods with a part left out, too."""
        self.name, self.label, self.note = info.name, info.label, info.note
        self.device = device
        self.families = families
        with torch.device("meta"):  # sizes come from a file: no memory is taken before its tensors are seen to fit
            self.generator = Generator(GeneratorConfig(**_tuples(config["generator"])))
            self.encoder = E4EEncoder(EncoderConfig(**_tuples(config["encoder"])))
        for name, module in (("generator", self.generator), ("encoder", self.encoder)):
            weights.load_strict(module, weights.part(tensors, name), f"the {name} weights")
            channels_last(module).to(device).eval().requires_grad_(False)
        self.refiners: dict[str, Refiner] = {}
        for kind in (*REFINERS, *(ABLATIONS if ablations else ())):
            if all(network in config for network in kind.networks):
                refiner = kind()
                refiner.load(self.generator, tensors, config)
                self.refiners[refiner.method.name] = refiner

    @property
    def encoder_size(self) -> int:
        """Side S of the crop that the encoder reads."""
        return self.encoder.config.size

    @property
    def size(self) -> int:
        """Side R of the generated picture."""
        return self.generator.config.size

    def sliders(self) -> list[Slider]:
        """Every slider of every family."""
        return [slider for family in self.families.values() for slider in family.sliders()]

    def groups(self) -> list[Group]:
        """The families that have sliders, in the order of `sliders`."""
        return [family.group for family in self.families.values()]

    @property
    def follows_prompts(self) -> bool:
        """Whether typed prompts become sliders: where it has a text model."""
        family = self.families.get(StyleCLIP.group.name)
        return isinstance(family, StyleCLIP) and family.follows_prompts

    def methods(self) -> list[Method]:
        """The refinement methods this model has weights for."""
        return [refiner.method for refiner in self.refiners.values()]

    def refiner(self, name: str) -> Refiner:
        """Raises RecipeError where this model has no such method."""
        if name not in self.refiners:
            raise RecipeError(f"This model has no method {name!r}; it has {', '.join(self.refiners)}.")
        return self.refiners[name]

    def family(self, slider: str) -> tuple[Family, str]:
        """The family of a slider "family/name", and the name in it. Raises RecipeError for an unknown slider."""
        if slider not in {known.name for known in self.sliders()}:
            raise RecipeError(f"This model has no slider {slider!r}; see `sliders` for the list.")
        family, _, name = slider.partition("/")
        return self.families[family], name

    @torch.no_grad()
    def invert(self, crop: Tensor) -> Inversion:
        """A crop 1 x 3 x S x S in [-1, 1] -> everything that is computed once per photo."""
        return invert(self.generator, self.encoder, crop.to(self.device))


def load_models(
    name: str = "portrait",
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    directions: Path | None = None,
    ablations: bool = False,
) -> Models:
    """Load a model by name, or the published networks of a checkpoint whose layout decides the model.

    "ffhq-1024" without a checkpoint is the published e4e file, fetched where it is not there yet.
    directions: a folder of directions for it: age.pt, smile.pt, pose.pt and ffhq_pca.pt for the published networks,
        or files made by the command `directions`.
    ablations: as in `Models`.
    Raises WeightsError where the name is unknown or the files are missing, foreign or damaged, and what
    `pick_device` raises.
    """
    there = pick_device(device)
    infos = {info.name: info for info in CATALOGUE}
    if name not in infos:
        raise WeightsError(f"There is no model {name!r}; there are {', '.join(infos)}.")
    if checkpoint is None and name == "ffhq-1024":
        checkpoint = weights.fetch(weights.spec("e4e-ffhq"))
    if checkpoint is not None:
        tensors, metadata = weights.converted(checkpoint, layouts.translate)
        config = json.loads(metadata["config"])
        families = build(tensors, config, directions)
        return Models(infos["ffhq-1024"], tensors, config, families, there, ablations=ablations)
    embedded, config = embedded_tensors(WEIGHTS / name)
    return Models(infos[name], embedded, config, build(embedded, config, directions), there, ablations=ablations)


def pick_device(device: str) -> torch.device:
    """A device by PyTorch's name for it; "auto": a GPU where there is one. Raises HfgiError where there is none."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.zeros((), device=name).item()
    except (RuntimeError, AssertionError):  # for unknown names and for devices that this machine or this PyTorch lacks
        raise HfgiError(f"There is no device {device!r} here; use auto or cpu.") from None
    return torch.device(name)


def embedded_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All safetensors files of a model's folder together: tensors in float32, and their configs."""
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        some, metadata = weights.load(path)
        if "config" not in metadata:
            raise WeightsError(f"{path.name} does not describe its networks; get the project's weights folder again.")
        tensors |= {name: value.float() if value.is_floating_point() else value for name, value in some.items()}
        config = merged(config, json.loads(metadata["config"]))
    if not {"generator", "encoder"} <= config.keys():
        raise WeightsError("The embedded weights are missing; get the project's weights folder again.")
    return tensors, config


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
