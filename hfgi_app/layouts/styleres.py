"""The layout of StyleRes: an e4e encoder, and a generator in NVIDIA's naming with E1 and E2 in its 64 px block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from hfgi_app.layouts.hfgi import encoder
from hfgi_app.layouts.names import (
    HOOK,
    Network,
    Rules,
    Tensors,
    check_kernel,
    count,
    numbered,
    part,
    plausible,
    rename,
    renamed,
    size,
)
from hfgi_app.networks.stylegan2 import GeneratorConfig

PARTS = ("e4e", "generator_smooth")
CLAMP = 256.0
"""What the published generator never lets its layers exceed; it is not in the file."""
INSIDE = f"synthesis.b{HOOK}.modify_feature_"
NEVER_RUN = re.compile(rf"mapping\.w_avg$|{re.escape(INSIDE)}alignment\.dconv3\.")
"""Parameters that the published file carries and its program does not use."""


def _block(match: re.Match[str]) -> int:
    return int(match[1]).bit_length() - 3


GENERATOR: Rules = (
    (r"^mapping\.fc(\d+)\.", numbered("mapping.layers", 0)),
    (r"^synthesis\.b4\.const$", "const"),
    (
        r"^synthesis\.b(4|8|16|32|64|128|256|512|1024)\.conv([01])\.",
        lambda match: f"layers.{2 * _block(match) - 1 + int(match[2])}.",
    ),
    (r"^synthesis\.b(4|8|16|32|64|128|256|512|1024)\.torgb\.", lambda match: f"to_rgbs.{_block(match)}."),
)
GENERATOR_LAYER: Rules = (
    (r"^(layers|to_rgbs)\.(\d+)\.(affine\.|weight$)", r"\1.\2.conv.\3"),
    (r"\.noise_const$", ".noise"),
    (r"$", ""),
)
ALIGNMENT: Rules = (
    (r"^first_layer\.", "input_layer."),
    (r"^conv([123])\.", numbered("down", -1)),
    (r"^dconv([12])\.", numbered("up", -1)),
    (r"^out_layer\.", "aligned."),
)
EXTRACTION: Rules = (
    (r"^first_layer\.", "extraction.0."),
    (r"^convs\.", "extraction.1."),
)
GATES: Rules = (
    (r"^down1\.", "reduce_features."),
    (r"^down2\.", "reduce_residual."),
    (r"^convs\.", "change."),
    (r"^convs2\.", "gate."),
)


def networks(checkpoint: Mapping[str, Any]) -> dict[str, Network]:
    """Encoder, generator, residual_encoder (E1) and residual_transform (E2)."""
    whole = part(checkpoint["generator_smooth"], "")
    state = {name: tensor for name, tensor in whole.items() if not NEVER_RUN.match(name)}
    found = generator({name: tensor for name, tensor in state.items() if not name.startswith(INSIDE)})
    features = found[0]["channels"][HOOK.bit_length() - 3]
    return {
        "encoder": encoder(part(checkpoint["e4e"], ""), checkpoint["latent_avg"]),
        "generator": found,
        "residual_encoder": residual_encoder(
            part(state, f"{INSIDE}alignment."), part(state, f"{INSIDE}extraction."), features
        ),
        "residual_transform": residual_transform(part(state, f"{INSIDE}gates."), features),
    }


def generator(state: Tensors) -> Network:
    """GeneratorConfig fields and Generator tensors of a StyleGAN2 in NVIDIA's PyTorch layout."""
    blocks = count(state, r"synthesis\.b(\d+)\.torgb\.", 5, 9)  # at least up to the hook
    config = GeneratorConfig(
        channels=tuple(size(state, f"synthesis.b{4 << block}.conv1.weight", 0) for block in range(blocks)),
        dim=size(state, "synthesis.b4.conv1.affine.weight", 1),
        hook=HOOK,
        mapping_layers=count(state, r"mapping\.fc(\d+)\.", 1, 16),
        clamp=CLAMP,
    )
    for name in [name for name in state if name.endswith(".resample_filter")]:
        check_kernel(f"generator_smooth.{name}", state.pop(name), 1.0)
    named = renamed(state, GENERATOR, "generator_smooth")
    return asdict(config), {rename(name, GENERATOR_LAYER): _padded(name, tensor) for name, tensor in named.items()}


def residual_encoder(alignment: Tensors, extraction: Tensors, features: int) -> Network:
    """Arguments and tensors of ResidualEncoder (published as modify_feature_alignment and _extraction)."""
    both = size(alignment, "first_layer.weight", 1)
    config = {
        "encoder_features": plausible("first_layer.weight", both - features, 1, 4096),
        "features": features,
        "width": size(alignment, "first_layer.weight", 0),
    }
    tensors = renamed(alignment, ALIGNMENT, "alignment") | renamed(extraction, EXTRACTION, "extraction")
    return config, tensors


def residual_transform(gates: Tensors, features: int) -> Network:
    """Arguments and tensors of ResidualTransform (published as modify_feature_gates)."""
    config = {
        "features": features,
        "residual": size(gates, "down2.weight", 1),
        "width": size(gates, "convs.0.res_layer.0.weight", 1),
    }
    return config, renamed(gates, GATES, "gates")


def _padded(name: str, tensor: Tensor) -> Tensor:
    """With the axes of length 1 that the published layout leaves out."""
    if name.endswith(".noise_const"):
        return tensor[None, None]
    return tensor[None] if name == "const" else tensor
