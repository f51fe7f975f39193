"""The published StyleCLIP mappers: one network per edit, its file's layout, and its slider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.base import Facts
from hfgi_app.errors import WeightsError
from hfgi_app.networks.mapper import LatentMapper

PARAMETER = re.compile(r"(?:^|\.)(course|coarse|medium|fine)_mapping\.mapping\.(\d+)\.(weight|bias)$")
"""Their group, place and name, whatever stands before: the files call the first group "course"."""
FIRST = 1
"""The norm has place 0."""
FACTS: Mapping[str, Facts] = {
    name: {"label": name.replace("_", " ").title(), "low": -0.2, "high": 0.2, "step": 0.01} for name in weights.MAPPERS
}
"""Strengths to 0.2, the examples' 0.08 to 0.11 among them."""


def read(path: Path) -> LatentMapper:
    """The mapper in a published file. Raises WeightsError where there is none, or one of another shape."""
    content = weights.read_pickle(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = _renamed(state)
    groups = {name.split(".")[1] for name in tensors}
    if not groups or any(tensor.shape not in ((512, 512), (512,)) for tensor in tensors.values()):
        raise WeightsError(f"{path.name} holds no StyleCLIP mapper; expected course, medium and fine mappings of 512.")
    with torch.device("meta"):
        mapper = LatentMapper(sorted(groups))
    weights.load_strict(mapper, tensors, f"the mapper in {path.name}")
    return mapper.eval().requires_grad_(False)


def _renamed(state: Mapping[object, object]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in state.items():
        match = PARAMETER.search(str(name))
        if match and isinstance(tensor, Tensor):
            group = "coarse" if match[1] == "course" else match[1]
            found[f"groups.{group}.layers.{int(match[2]) - FIRST}.{match[3]}"] = tensor
    return found
