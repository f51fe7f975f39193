"""Published checkpoint layouts: their parameter names -> ours, every size read off tensor shapes.

    hfgi      state_dict with encoder. decoder. residue. grid_align., and latent_avg   (Wang et al. 2022)
    e4e       state_dict with encoder. decoder., and latent_avg                        (Tov et al. 2021)
    styleres  e4e, generator_smooth and latent_avg                                     (Pehlivan et al. 2023)

Both ways are strict: a name without a rule is an error here, a parameter without a tensor is one when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hfgi_app.errors import WeightsError
from hfgi_app.layouts import hfgi, styleres
from hfgi_app.layouts.names import Tensors, listed

EXPECTED = (
    "an HFGI checkpoint (state_dict with encoder, decoder, residue and grid_align, and latent_avg), "
    "a StyleRes checkpoint (e4e, generator_smooth and latent_avg) "
    "or an e4e checkpoint (state_dict with encoder and decoder, and latent_avg)"
)


def detect(checkpoint: object) -> str:
    """Name of the layout, "hfgi", "e4e" or "styleres".

    Raises WeightsError, saying what was expected and what was found, for any other object.
    """
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"The file holds a {type(checkpoint).__name__}; expected {EXPECTED}.")
    centred = isinstance(checkpoint.get("latent_avg"), Tensor)
    if centred and all(isinstance(checkpoint.get(part), Mapping) for part in styleres.PARTS):
        return "styleres"
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise WeightsError(f"The file holds {listed(checkpoint)}; expected {EXPECTED}.")
    parts = {str(name).split(".")[0] for name in state}
    for layout, names in hfgi.PARTS.items():
        if parts == names and centred:
            _check_options(checkpoint.get("opts"))
            return layout
    found = f"{listed(checkpoint)} with {listed(parts)} in its state_dict"
    raise WeightsError(f"The file holds {found}; expected {EXPECTED}.")


def translate(checkpoint: Mapping[str, Any]) -> tuple[Tensors, dict[str, str]]:
    """A published checkpoint -> tensors by our names, and metadata.

    Tensors are named "<network>.<parameter>" with the networks encoder, generator and the method's own: alignment and
    consultation for HFGI, residual_encoder and residual_transform for StyleRes.
    metadata: layout, and config, a JSON object of one constructor's arguments per network.
    Raises WeightsError for a foreign or incomplete checkpoint.
    """
    layout = detect(checkpoint)
    parts = styleres.networks(checkpoint) if layout == "styleres" else hfgi.networks(checkpoint, layout)
    tensors = {f"{part}.{name}": t for part, (_, named) in parts.items() for name, t in named.items()}
    config = {part: config for part, (config, _) in parts.items()}
    return tensors, {"layout": layout, "config": json.dumps(config)}


def _check_options(options: object) -> None:
    """pSp files have e4e's very names and shapes but mean something else by them; only their options tell."""
    fields = options if isinstance(options, Mapping) else vars(options) if hasattr(options, "__dict__") else {}
    kind = fields.get("encoder_type", "Encoder4Editing")
    if kind != "Encoder4Editing":
        raise WeightsError(f"The file was made for the encoder {kind!s:.40}; expected Encoder4Editing.")
    if not fields.get("start_from_latent_avg", True):
        raise WeightsError("The file's codes do not start from the average code; expected start_from_latent_avg.")
