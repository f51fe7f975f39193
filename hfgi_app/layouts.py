"""Published checkpoint layouts: their parameter names -> ours, every size read off tensor shapes.

    hfgi    state_dict with encoder. decoder. residue. grid_align., and latent_avg   (Wang et al. 2022)
    e4e     state_dict with encoder. decoder., and latent_avg                        (Tov et al. 2021)

Both ways are strict: a name without a rule is an error here, a parameter without a tensor is one when it is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from hfgi_app.errors import WeightsError
from hfgi_app.networks.e4e import EncoderConfig
from hfgi_app.networks.stylegan2 import GeneratorConfig

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]

PARTS = {
    "hfgi": {"encoder", "decoder", "residue", "grid_align"},
    "e4e": {"encoder", "decoder"},
}
EXPECTED = (
    "an HFGI checkpoint (state_dict with encoder, decoder, residue and grid_align, and latent_avg) "
    "or an e4e checkpoint (state_dict with encoder and decoder, and latent_avg)"
)
HOOK = 64
UNITS = (3, 4, 14, 3)
FIRST_UNITS = (0, 3, 7, 21)


def _unit(match: re.Match[str]) -> str:
    """body.N -> stages.S.U: the published body is one list of 24 units."""
    number = int(match[1])
    stage = sum(number >= first for first in FIRST_UNITS) - 1
    return f"stages.{stage}.{number - FIRST_UNITS[stage]}."


def _numbered(name: str, shift: int) -> Callable[[re.Match[str]], str]:
    return lambda match: f"{name}.{int(match[1]) + shift}."


# One rule per name, the first that matches; what it does not match of the name stays.
ENCODER: tuple[Rule, ...] = (
    (r"^input_layer\.", "input_layer."),
    (r"^body\.(\d+)\.", _unit),
    (r"^styles\.(\d+)\.", _numbered("heads", 0)),
    (r"^latlayer1\.", "lateral2."),
    (r"^latlayer2\.", "lateral1."),
)
DECODER: tuple[Rule, ...] = (
    (r"^style\.(\d+)\.", _numbered("mapping.layers", -1)),
    (r"^input\.input$", "const"),
    (r"^conv1\.", "layers.0."),
    (r"^convs\.(\d+)\.", _numbered("layers", 1)),
    (r"^to_rgb1\.", "to_rgbs.0."),
    (r"^to_rgbs\.(\d+)\.", _numbered("to_rgbs", 1)),
    (r"^noises\.noise_(\d+)$", r"layers.\1.noise"),
)
DECODER_LAYER: tuple[Rule, ...] = (
    (r"\.conv\.modulation\.", ".conv.affine."),
    (r"\.activate\.bias$", ".bias"),
    (r"\.noise\.weight$", ".noise_strength"),
    (r"$", ""),
)
RESIDUE: tuple[Rule, ...] = (
    (r"^conv_layer1\.", "input_layer."),
    (r"^conv_layer([23])\.", _numbered("stages", -2)),
    (r"^condition_(scale|shift)3\.", r"\1."),
)
GRID_ALIGN: tuple[Rule, ...] = (
    (r"^conv_layer1\.", "input_layer."),
    (r"^conv_layer([234])\.", _numbered("down", -2)),
    (r"^dconv_layer([123])\.", _numbered("up", -1)),
)


def detect(checkpoint: object) -> str:
    """Name of the layout, "hfgi" or "e4e".

    Raises WeightsError, saying what was expected and what was found, for any other object.
    """
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"The file holds a {type(checkpoint).__name__}; expected {EXPECTED}.")
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise WeightsError(f"The file holds {_list(checkpoint)}; expected {EXPECTED}.")
    parts = {str(name).split(".")[0] for name in state}
    for layout, names in PARTS.items():
        if parts == names and isinstance(checkpoint.get("latent_avg"), Tensor):
            _check_options(checkpoint.get("opts"))
            return layout
    found = f"{_list(checkpoint)} with {_list(parts)} in its state_dict"
    raise WeightsError(f"The file holds {found}; expected {EXPECTED}.")


def translate(checkpoint: Mapping[str, Any]) -> tuple[Tensors, dict[str, str]]:
    """A published checkpoint -> tensors by our names, and metadata.

    Tensors are named "<network>.<parameter>" with the networks encoder, generator and, for HFGI, alignment and
    consultation. metadata: layout, and config, a JSON object of one constructor's arguments per network.
    Raises WeightsError for a foreign or incomplete checkpoint.
    """
    layout = detect(checkpoint)
    state = checkpoint["state_dict"]
    parts = {
        "encoder": encoder(_part(state, "encoder"), checkpoint["latent_avg"]),
        "generator": generator(_part(state, "decoder")),
    }
    if layout == "hfgi":
        parts["alignment"] = alignment(_part(state, "grid_align"))
        parts["consultation"] = consultation(_part(state, "residue"))
    tensors = {f"{part}.{name}": t for part, (_, named) in parts.items() for name, t in named.items()}
    config = {part: config for part, (config, _) in parts.items()}
    return tensors, {"layout": layout, "config": json.dumps(config)}


def encoder(state: Tensors, latent_avg: Tensor) -> tuple[Config, Tensors]:
    """EncoderConfig fields and E4EEncoder tensors of an IR-SE50 e4e encoder.

    latent_avg: rows x dim, 1 x dim or dim.
    """
    depth = _count(state, r"styles\.0\.convs\.(\d+)\.weight", 1, 8)
    stages = [_size(state, f"body.{unit}.res_layer.1.weight", 0) for unit in FIRST_UNITS]
    config = EncoderConfig(
        rows=_count(state, r"styles\.(\d+)\.", 1, 64),
        dim=_size(state, "styles.0.linear.weight", 0),
        size=2 ** (depth + len(UNITS)),
        widths=(_size(state, "input_layer.0.weight", 0), stages[0], stages[1], stages[2], stages[3]),
        head_width=_size(state, "styles.0.convs.0.weight", 0),
        units=UNITS,
    )
    tensors = _renamed(state, ENCODER, "encoder")
    tensors["latent_avg"] = _latent_avg(latent_avg, config.rows, config.dim)
    return asdict(config), tensors


def generator(state: Tensors) -> tuple[Config, Tensors]:
    """GeneratorConfig fields and Generator tensors of a StyleGAN2 in the widespread PyTorch layout."""
    blocks = _count(state, r"to_rgbs\.(\d+)\.", 4, 10)  # at least up to the hook
    upper = (_size(state, f"convs.{2 * block + 1}.conv.weight", 1) for block in range(blocks))
    config = GeneratorConfig(
        channels=(_size(state, "input.input", 1), *upper),
        dim=_size(state, "conv1.conv.modulation.weight", 1),
        hook=HOOK,
        mapping_layers=_count(state, r"style\.(\d+)\.", 1, 16),
    )
    for name in [name for name in state if name.endswith(".kernel")]:
        _check_kernel(name, state.pop(name))
    named = _renamed(state, DECODER, "decoder")
    tensors = {_rename(name, DECODER_LAYER): _unpadded(name, tensor) for name, tensor in named.items()}
    return asdict(config), tensors


def alignment(state: Tensors) -> tuple[Config, Tensors]:
    """Arguments and tensors of DistortionAlignment (published as grid_align)."""
    firsts = ["conv_layer1.0.weight", *(f"conv_layer{stage}.0.res_layer.1.weight" for stage in (2, 3, 4))]
    config = {"widths": [_size(state, name, 0) for name in firsts]}
    return config, _renamed(state, GRID_ALIGN, "grid_align")


def consultation(state: Tensors) -> tuple[Config, Tensors]:
    """Arguments and tensors of ConsultationEncoder (published as residue)."""
    firsts = ["conv_layer1.0.weight", *(f"conv_layer{stage}.0.res_layer.1.weight" for stage in (2, 3))]
    config = {
        "features": _size(state, "condition_scale3.2.weight", 0),
        "widths": [_size(state, name, 0) for name in firsts],
        "head_width": _size(state, "condition_scale3.0.weight", 0),
    }
    return config, _renamed(state, RESIDUE, "residue")


def _check_options(options: object) -> None:
    """pSp files have e4e's very names and shapes but mean something else by them; only their options tell."""
    fields = options if isinstance(options, Mapping) else vars(options) if hasattr(options, "__dict__") else {}
    kind = fields.get("encoder_type", "Encoder4Editing")
    if kind != "Encoder4Editing":
        raise WeightsError(f"The file was made for the encoder {kind!s:.40}; expected Encoder4Editing.")
    if not fields.get("start_from_latent_avg", True):
        raise WeightsError("The file's codes do not start from the average code; expected start_from_latent_avg.")


def _part(state: Mapping[str, Any], part: str) -> Tensors:
    prefix = f"{part}."
    found = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(f"{prefix}{name} is a {type(tensor).__name__}; expected a tensor.")
    return found


def _renamed(state: Tensors, rules: tuple[Rule, ...], part: str) -> Tensors:
    names = {name: _rename(name, rules) for name in state}
    unknown = [name for name, ours in names.items() if not ours]
    if unknown:
        raise WeightsError(f"The file's {part} has parameters that are not known here: {_list(unknown)}.")
    return {names[name]: tensor for name, tensor in state.items()}


def _rename(name: str, rules: tuple[Rule, ...]) -> str:
    """Our name, or an empty one where no rule knows it."""
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return ""


def _size(state: Tensors, name: str, axis: int) -> int:
    if name not in state or state[name].dim() <= axis:
        raise WeightsError(f"The file lacks the parameter {name} that tells its network's size; it may be damaged.")
    return _plausible(name, state[name].shape[axis], 1, 4096)


def _count(state: Tensors, pattern: str, least: int, most: int) -> int:
    """How many different numbers the names matching the pattern carry."""
    found = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    return _plausible(pattern.replace("\\", "").replace("(d+)", "N"), len(found), least, most)


def _plausible(name: str, value: int, least: int, most: int) -> int:
    """Sizes are believed before anything is built from them, so a damaged file must not ask for a huge network."""
    if not least <= value <= most:
        raise WeightsError(f"The file's {name} tells a size of {value}; expected {least} to {most}.")
    return value


def _unpadded(name: str, tensor: Tensor) -> Tensor:
    """Without the axes of length 1 that the published layout keeps for broadcasting."""
    if name.endswith(".conv.weight") and tensor.dim() == 5:
        return tensor[0]
    if name.endswith(".noise.weight"):
        return tensor.reshape(-1)[0]
    return tensor.flatten() if re.match(r"to_rgbs\.\d+\.bias", name) else tensor


def _latent_avg(latent_avg: Tensor, rows: int, dim: int) -> Tensor:
    if latent_avg.numel() not in (dim, rows * dim):
        raise WeightsError(f"latent_avg has {latent_avg.numel()} values; expected {rows} x {dim} or {dim}.")
    return latent_avg.reshape(-1, dim).expand(rows, dim).contiguous()


def _check_kernel(name: str, kernel: Tensor) -> None:
    """The low-pass filter is part of our arithmetic, not of the weights: [1, 3, 3, 1] squared, gain 4."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    if kernel.shape != (4, 4) or not torch.allclose(kernel.float(), torch.outer(line, line), atol=1e-6):
        raise WeightsError(f"decoder.{name} is not the filter 1, 3, 3, 1; this generator is of another make.")


def _list(names: Iterable[object]) -> str:
    """The first few names, for a sentence."""
    known = sorted(str(name)[:60] for name in names)
    return (", ".join(known[:4]) or "nothing") + (f" and {len(known) - 4} more" if len(known) > 4 else "")
