"""A tiny random model: every network and family there is, at sizes that take milliseconds.

The encoder reads S = 64 pixels, the generator makes R = 32, the hook is at 16: three sizes that nothing can mix up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import fill
from torch import Tensor, nn

from hfgi_app.directions.base import Family
from hfgi_app.directions.ganspace import Components, GANSpace, Preset
from hfgi_app.directions.interfacegan import InterfaceGAN
from hfgi_app.directions.sefa import SeFa
from hfgi_app.models import ModelInfo, Models
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.hfgi import ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.reganie import Rectifier
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.networks.styleres import ResidualEncoder, ResidualTransform
from hfgi_app.networks.wagi import WaGI
from hfgi_app.types import Photo

INFO = ModelInfo("tiny", "Tiny", "Random, for tests.")
GENERATOR = GeneratorConfig((8, 8, 6, 4), dim=8, hook=16, mapping_layers=1)
ENCODER = EncoderConfig(GENERATOR.rows, GENERATOR.dim, 64, (4, 4, 4, 6, 8), 4, units=(1, 1, 1, 1))
CONFIG: dict[str, dict[str, Any]] = {
    "generator": asdict(GENERATOR),
    "encoder": asdict(ENCODER),
    "alignment": {"widths": (2, 2, 4, 4)},
    "consultation": {"features": 6, "widths": (2, 4, 4), "head_width": 4, "strides": (2, 2)},
    "residual_encoder": {"encoder_features": 4, "features": 6, "width": 5},
    "residual_transform": {"features": 6, "residual": 5, "width": 5},
    "wavelet_fusion": {
        "size": GENERATOR.size,
        "hook": GENERATOR.hook,
        "movement": (4, 8, 16),
        "stillness": (4, 16),
        "alignment": (2, 2, 4, 4),
        "fusion": (4, 4, 5),
    },
    "restyle_encoder": asdict(replace(ENCODER, channels=6)),
    "rectifier": {"widths": (3, 4, 5), "dim": 6, "movement": (4, 8, 16), "stillness": (4, 16)},
}
STEP = 0.02
"""Length of the directions: a slider's step is small in the picture, its end is not."""


def tensors(seed: int = 0) -> dict[str, Tensor]:
    """Weights of all networks by "<network>.<parameter>", biases and batch statistics not at their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: dict[str, nn.Module] = {
            "generator": Generator(GENERATOR),
            "encoder": E4EEncoder(ENCODER),
            "alignment": DistortionAlignment(**CONFIG["alignment"]),
            "consultation": ConsultationEncoder(**CONFIG["consultation"]),
            "residual_encoder": ResidualEncoder(**CONFIG["residual_encoder"]),
            "residual_transform": ResidualTransform(**CONFIG["residual_transform"]),
            "wavelet_fusion": WaGI(**CONFIG["wavelet_fusion"]),
            "restyle_encoder": E4EEncoder(EncoderConfig(**CONFIG["restyle_encoder"])),
            "rectifier": Rectifier(**CONFIG["rectifier"]),
        }
        named = {
            f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()
        }
        return {name: _shaken(value) for name, value in named.items()}


def _shaken(tensor: Tensor) -> Tensor:
    small = tensor.is_floating_point() and tensor.dim() < 2
    return tensor + 0.05 * torch.rand_like(tensor) if small else tensor.clone()


def families() -> dict[str, Family]:
    """One of each kind, with directions in every shape they may have."""
    rng = torch.Generator().manual_seed(1)
    rows, dim = GENERATOR.rows, GENERATOR.dim
    named = {
        "age": STEP * torch.randn(dim, generator=rng),
        "smile": STEP * torch.randn(1, dim, generator=rng),
        "pose": STEP * torch.randn(1, rows, dim, generator=rng),
        "hair": STEP * torch.randn(rows, dim, generator=rng),
    }
    turned = torch.linalg.qr(torch.randn(dim, dim, generator=rng))[0]
    components = Components(torch.randn(dim, generator=rng), turned[:4], torch.tensor([0.03, 0.2, 0.1, 0.015]))
    presets = {"eyes": Preset(3, 2, 4, 20), "lip": Preset(0, 6, 7, -20), "first": Preset(1, 0, 2, 5)}
    affines = [torch.randn(6, dim, generator=rng) for _ in range(rows - 1)]
    facts = {"eyes": {"low": -30, "high": 45, "step": 1}, "lip": {"low": -30, "high": 30, "step": 1}}
    space = GANSpace(components, presets, facts)
    return {"interfacegan": InterfaceGAN(named), "ganspace": space, "sefa": SeFa(affines)}


def models(seed: int = 0, networks: Sequence[str] = tuple(CONFIG)) -> Models:
    """A model with these networks, generator and encoder among them."""
    config = {name: CONFIG[name] for name in networks}
    return Models(INFO, tensors(seed), config, families(), torch.device("cpu"))


def photo(height: int = 90, width: int = 120, seed: int = 0) -> Photo:
    """Soft light with grain, no channel at its ends."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(60, 190, (2, 2, 3))
    down, right = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    light = (low[0, 0] * (1 - right) + low[0, 1] * right) * (1 - down) + (
        low[1, 0] * (1 - right) + low[1, 1] * right
    ) * down
    return (light + rng.normal(0, 6, (height, width, 3))).clip(1, 254).astype(np.uint8)


def landmarks(x: float, y: float, eyes: float = 14) -> np.ndarray:
    """An upright face whose eyes lie around (x, y), `eyes` pixels apart; its square is about four times as wide."""
    points = np.full((468, 2), (x, y + eyes / 2))
    points[[33, 160, 158, 133, 153, 144]] = x - eyes / 2, y
    points[[362, 385, 387, 263, 373, 380]] = x + eyes / 2, y
    points[[61, 291]] = [[x - eyes / 3, y + eyes], [x + eyes / 3, y + eyes]]
    return points


def save_e4e(path: Path) -> None:
    """A random checkpoint in e4e's published layout, 1024 px: every width is a 64th of the published one."""
    rng = torch.Generator().manual_seed(0)
    state = {
        name: _published(name, shape, rng)
        for name, (shape, _) in fill.keys().items()
        if name.startswith(("encoder.", "decoder."))
    }
    torch.save({"state_dict": state, "latent_avg": torch.randn(18, 8, generator=rng), "opts": {}}, path)


def _published(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    if name.endswith("kernel"):
        return torch.from_numpy(fill.values(name, shape))
    if name.endswith("tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if ".noises." not in name:
        last = {4: 2, 5: 3}.get(len(shape), len(shape))  # the axes after it are a kernel's
        shape = tuple(size if axis >= last or size in (1, 3) else max(size // 64, 1) for axis, size in enumerate(shape))
    if name.endswith(("running_var", "modulation.bias")):
        return torch.ones(shape)
    return torch.randn(shape, generator=rng) * (0.1 if len(shape) < 2 else 1.0)
