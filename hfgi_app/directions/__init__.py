"""Families of directions, in the order in which users see them, and how a model comes by its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.base import Family, Source
from hfgi_app.directions.ganspace import GANSpace
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.directions.sefa import SeFa
from hfgi_app.directions.styleclip import StyleCLIP
from hfgi_app.errors import WeightsError
from hfgi_app.networks.stylegan2 import GeneratorConfig

FAMILIES: tuple[type[Family], ...] = (InterfaceGAN, GANSpace, StyleCLIP, SeFa)


def build(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path | None = None) -> dict[str, Family]:
    """The families that a model has, by name.

    tensors, config: the model's, its networks among them, as in `Source`.
    folder: the user's directions: published files, and safetensors of the commands `directions` and `train`.
    Raises WeightsError where the folder holds no directions, or some do not fit the model.
    """
    if folder is not None:
        own, facts = _own(folder)
        kept = {name: _about(tensors, name, config.get(name, {})) for name in facts}
        tensors, config = {**tensors, **own}, {**config, **merged(kept, facts)}
    source = Source(GeneratorConfig(**config["generator"]), tensors, config, folder)
    built = {kind.group.name: kind.build(source) for kind in FAMILIES}
    return {name: family for name, family in built.items() if family is not None}


def merged(config: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Two configs as one: what both describe is joined, the second's word counting."""
    return {**config, **{name: {**config.get(name, {}), **facts} for name, facts in more.items()}}


def _about(tensors: Mapping[str, Tensor], family: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about tensors of that name: others, such as a component's name, go when the user's tensors come."""
    return {name: fact for name, fact in facts.items() if f"{family}.{name}" in tensors}


def _own(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of all families in a folder's safetensors files, in float32, and their facts; nothing else in them."""
    names = {kind.group.name for kind in FAMILIES}
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found, metadata = weights.load(path)
        some = {key: value.float() for key, value in found.items() if key.partition(".")[0] in names}
        described = json.loads(metadata.get("config", "{}")) if some else {}
        tensors |= some
        config = merged(config, {name: facts for name, facts in described.items() if name in names})
    files = [file for kind in FAMILIES for file in kind.files]
    if not tensors and not any((folder / file).exists() for file in files):
        raise WeightsError(f"The directions folder holds none of {', '.join(files)}, nor directions of your own.")
    return tensors, config
