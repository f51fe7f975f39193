"""The layouts of HFGI and of e4e, whose encoder StyleRes has as well; generators in the widespread PyTorch layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from hfgi_app.errors import WeightsError
from hfgi_app.layouts.names import (
    HOOK,
    Network,
    Rules,
    Tensors,
    check_kernel,
    count,
    numbered,
    part,
    rename,
    renamed,
    size,
)
from hfgi_app.networks.e4e import EncoderConfig
from hfgi_app.networks.stylegan2 import GeneratorConfig

PARTS = {
    "hfgi": {"encoder", "decoder", "residue", "grid_align"},
    "e4e": {"encoder", "decoder"},
}
UNITS = (3, 4, 14, 3)
FIRST_UNITS = (0, 3, 7, 21)


def _unit(match: re.Match[str]) -> str:
    """body.N -> stages.S.U: the published body is one list of 24 units."""
    number = int(match[1])
    stage = sum(number >= first for first in FIRST_UNITS) - 1
    return f"stages.{stage}.{number - FIRST_UNITS[stage]}."


ENCODER: Rules = (
    (r"^input_layer\.", "input_layer."),
    (r"^body\.(\d+)\.", _unit),
    (r"^styles\.(\d+)\.", numbered("heads", 0)),
    (r"^latlayer1\.", "lateral2."),
    (r"^latlayer2\.", "lateral1."),
)
DECODER: Rules = (
    (r"^style\.(\d+)\.", numbered("mapping.layers", -1)),
    (r"^input\.input$", "const"),
    (r"^conv1\.", "layers.0."),
    (r"^convs\.(\d+)\.", numbered("layers", 1)),
    (r"^to_rgb1\.", "to_rgbs.0."),
    (r"^to_rgbs\.(\d+)\.", numbered("to_rgbs", 1)),
    (r"^noises\.noise_(\d+)$", r"layers.\1.noise"),
)
DECODER_LAYER: Rules = (
    (r"\.conv\.modulation\.", ".conv.affine."),
    (r"\.activate\.bias$", ".bias"),
    (r"\.noise\.weight$", ".noise_strength"),
    (r"$", ""),
)
RESIDUE: Rules = (
    (r"^conv_layer1\.", "input_layer."),
    (r"^conv_layer([23])\.", numbered("stages", -2)),
    (r"^condition_(scale|shift)3\.", r"\1."),
)
GRID_ALIGN: Rules = (
    (r"^conv_layer1\.", "input_layer."),
    (r"^conv_layer([234])\.", numbered("down", -2)),
    (r"^dconv_layer([123])\.", numbered("up", -1)),
)


def networks(checkpoint: Mapping[str, Any], layout: str) -> dict[str, Network]:
    """Encoder and generator, and for HFGI alignment and consultation."""
    state = checkpoint["state_dict"]
    found = {
        "encoder": encoder(part(state, "encoder."), checkpoint["latent_avg"]),
        "generator": generator(part(state, "decoder.")),
    }
    if layout == "hfgi":
        found["alignment"] = alignment(part(state, "grid_align."))
        found["consultation"] = consultation(part(state, "residue."))
    return found


def encoder(state: Tensors, latent_avg: Tensor) -> Network:
    """EncoderConfig fields and E4EEncoder tensors of an IR-SE50 e4e encoder.

    latent_avg: rows x dim, 1 x dim or dim.
    """
    depth = count(state, r"styles\.0\.convs\.(\d+)\.weight", 1, 8)
    stages = [size(state, f"body.{unit}.res_layer.1.weight", 0) for unit in FIRST_UNITS]
    config = EncoderConfig(
        rows=count(state, r"styles\.(\d+)\.", 1, 64),
        dim=size(state, "styles.0.linear.weight", 0),
        size=2 ** (depth + len(UNITS)),
        widths=(size(state, "input_layer.0.weight", 0), stages[0], stages[1], stages[2], stages[3]),
        head_width=size(state, "styles.0.convs.0.weight", 0),
        units=UNITS,
    )
    tensors = renamed(state, ENCODER, "encoder")
    tensors["latent_avg"] = _latent_avg(latent_avg, config.rows, config.dim)
    return asdict(config), tensors


def generator(state: Tensors) -> Network:
    """GeneratorConfig fields and Generator tensors of a StyleGAN2 in the widespread PyTorch layout."""
    blocks = count(state, r"to_rgbs\.(\d+)\.", 4, 10)  # at least up to the hook
    upper = (size(state, f"convs.{2 * block + 1}.conv.weight", 1) for block in range(blocks))
    config = GeneratorConfig(
        channels=(size(state, "input.input", 1), *upper),
        dim=size(state, "conv1.conv.modulation.weight", 1),
        hook=HOOK,
        mapping_layers=count(state, r"style\.(\d+)\.", 1, 16),
    )
    for name in [name for name in state if name.endswith(".kernel")]:
        check_kernel(f"decoder.{name}", state.pop(name), 4.0)
    named = renamed(state, DECODER, "decoder")
    tensors = {rename(name, DECODER_LAYER): _unpadded(name, tensor) for name, tensor in named.items()}
    return asdict(config), tensors


def alignment(state: Tensors) -> Network:
    """Arguments and tensors of DistortionAlignment (published as grid_align)."""
    firsts = ["conv_layer1.0.weight", *(f"conv_layer{stage}.0.res_layer.1.weight" for stage in (2, 3, 4))]
    config = {"widths": [size(state, name, 0) for name in firsts]}
    return config, renamed(state, GRID_ALIGN, "grid_align")


def consultation(state: Tensors) -> Network:
    """Arguments and tensors of ConsultationEncoder (published as residue)."""
    firsts = ["conv_layer1.0.weight", *(f"conv_layer{stage}.0.res_layer.1.weight" for stage in (2, 3))]
    config = {
        "features": size(state, "condition_scale3.2.weight", 0),
        "widths": [size(state, name, 0) for name in firsts],
        "head_width": size(state, "condition_scale3.0.weight", 0),
    }
    return config, renamed(state, RESIDUE, "residue")


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
