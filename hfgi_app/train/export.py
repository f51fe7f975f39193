"""Stages `export` and `restore`: a run's averaged weights to the files that are shipped, and back to go on training.

Matrices and kernels are stored in half precision, vectors (biases, batch statistics) in full.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfgi_app import weights
from hfgi_app.models import embedded_tensors
from hfgi_app.refine import REFINERS
from hfgi_app.train import directions, relevance
from hfgi_app.train.loop import State, load, save


def export(run: Path, size: int, out: Path) -> None:
    """Write base.safetensors (generator, encoder), critic.safetensors for later training, and <method>.safetensors,
    directions.safetensors, words.safetensors and relevance.safetensors where those stages have run.

    Raises FileNotFoundError where the generator stage has not run.
    """
    base = load(run / f"generator{size}.pt")
    if base is None:
        raise FileNotFoundError(f"Train the generator at {size} px first.")
    networks = {"generator": base["generator_average"], "encoder": base["encoder_average"]}
    config = {name: base[f"{name}_config"] for name in networks}
    _write(out / "base.safetensors", networks, config, base["seen"])
    for kind in REFINERS:
        if trained := load(run / f"{kind.method.name}.pt"):
            parts = {name: weights.part(trained["average"], name) for name in trained["config"]}
            _write(out / f"{kind.method.name}.safetensors", parts, trained["config"], trained["seen"])
    if fitted := load(run / "directions.pt"):
        named, facts = fitted["directions"], directions.facts(list(fitted["directions"]))
        _write(out / "directions.safetensors", {"interfacegan": named}, {"interfacegan": facts}, 0)
    if words := load(run / "words.pt"):
        _write(out / "words.safetensors", {"words": words["average"]}, {"words": words["config"]}, words["seen"])
    if measured := load(run / "relevance.pt"):
        _write(out / "relevance.safetensors", {"styleclip": measured}, {"styleclip": relevance.facts("small")}, 0)
    critic = {f"critic.{name}": _compact(value) for name, value in base["critic"].items()}
    _save(out.parent / "resume" / "critic.safetensors", critic, {"config": "{}", "seen": str(base["seen"])})


def restore(run: Path, source: Path) -> None:
    """The shipped weights as the generator stage's checkpoint: averaged weights go on as the live ones.

    Adam's moments are not shipped and start over.
    """
    tensors, config = embedded_tensors(source)
    critic, metadata = weights.load(source.parent / "resume" / "critic.safetensors")
    state: State = {
        "seen": int(metadata["seen"]),
        "size": config["encoder"]["size"],
        "critic": {name: value.float() for name, value in weights.part(critic, "critic").items()},
    }
    for name in ("generator", "encoder"):
        state[f"{name}_config"] = {k: tuple(v) if isinstance(v, list) else v for k, v in config[name].items()}
        state[name] = state[f"{name}_average"] = weights.part(tensors, name)
    save(run / f"generator{state['size']}.pt", state)


def _write(path: Path, networks: dict[str, dict[str, Tensor]], config: dict[str, Any], seen: int) -> None:
    tensors = {f"{name}.{key}": _compact(value) for name, part in networks.items() for key, value in part.items()}
    _save(path, tensors, {"config": json.dumps(config), "seen": str(seen)})


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.save(path, tensors, metadata)


def _compact(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(torch.float16) if tensor.is_floating_point() and tensor.dim() > 1 else tensor
