"""What every layout needs: renaming by rules, and sizes read off shapes before anything is built from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hfgi_app.errors import WeightsError

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Network = tuple[Config, Tensors]
"""A network's constructor arguments and its tensors by our names."""
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Pattern and replacement; one rule per name, the first that matches; what it does not match of the name stays."""

HOOK = 64
"""The resolution at which every published method works on the generator's features."""


def numbered(name: str, shift: int) -> Callable[[re.Match[str]], str]:
    """A replacement "<name>.<number>." whose number differs by `shift`."""
    return lambda match: f"{name}.{int(match[1]) + shift}."


def part(state: Mapping[Any, Any], prefix: str) -> Tensors:
    """The tensors whose names begin with the prefix, without it. Raises WeightsError where one is no tensor."""
    found = {str(name)[len(prefix) :]: tensor for name, tensor in state.items() if str(name).startswith(prefix)}
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(f"{prefix}{name} is a {type(tensor).__name__}; expected a tensor.")
    return found


def renamed(state: Tensors, rules: Rules, what: str) -> Tensors:
    """Raises WeightsError where no rule knows a name."""
    names = {name: rename(name, rules) for name in state}
    unknown = [name for name, ours in names.items() if not ours]
    if unknown:
        raise WeightsError(f"The file's {what} has parameters that are not known here: {listed(unknown)}.")
    return {names[name]: tensor for name, tensor in state.items()}


def rename(name: str, rules: Rules) -> str:
    """Our name, or an empty one where no rule knows it."""
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return ""


def size(state: Tensors, name: str, axis: int) -> int:
    """Length of one axis of a parameter. Raises WeightsError where it is missing or implausible."""
    if name not in state or state[name].dim() <= axis:
        raise WeightsError(f"The file lacks the parameter {name} that tells its network's size; it may be damaged.")
    return plausible(name, state[name].shape[axis], 1, 4096)


def count(state: Tensors, pattern: str, least: int, most: int) -> int:
    """How many different numbers the names matching the pattern carry."""
    found = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    return plausible(pattern.replace("\\", "").replace("(d+)", "N"), len(found), least, most)


def plausible(name: str, value: int, least: int, most: int) -> int:
    """Sizes are believed before anything is built from them, so a damaged file must not ask for a huge network."""
    if not least <= value <= most:
        raise WeightsError(f"The file's {name} tells a size of {value}; expected {least} to {most}.")
    return value


def check_kernel(name: str, kernel: Tensor, gain: float) -> None:
    """The low-pass filter is part of our arithmetic, not of the weights: [1, 3, 3, 1] squared, summing to the gain."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if kernel.shape != (4, 4) or not torch.allclose(kernel.float(), gain * torch.outer(line, line), atol=1e-6):
        raise WeightsError(f"{name} is not the filter 1, 3, 3, 1; this generator is of another make.")


def listed(names: Iterable[object]) -> str:
    """The first few names, for a sentence."""
    known = sorted(str(name)[:60] for name in names)
    return (", ".join(known[:4]) or "nothing") + (f" and {len(known) - 4} more" if len(known) > 4 else "")
