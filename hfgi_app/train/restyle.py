"""Stage `restyle`: ReStyle's encoder on a frozen generator, starting from the codes of a frozen e4e.

As in the paper (Alaluf et al. 2021, section 3.2) the losses are taken after every iteration and no gradient passes from
one to the next. L1 at several scales and the discriminator's features stand in for LPIPS and identity, which cannot be
shipped; that offsets stay small keeps the codes where edits work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.refine.base import Edit
from hfgi_app.refine.restyle import refine
from hfgi_app.train import augment, data, losses, refiner
from hfgi_app.train.loop import Batch, State, low_precision
from hfgi_app.train.refiner import Base, Loss
from hfgi_app.types import Inversion


@dataclass(frozen=True)
class Plan(refiner.Plan):
    """Sizes and weights of this stage."""

    widths: tuple[int, int, int, int, int] = (16, 24, 40, 80, 128)
    units: tuple[int, int, int, int] = (1, 1, 2, 2)
    head_width: int = 24
    head_learning_rate: float = 2e-3
    matching_weight: float = 1.0
    offset_weight: float = 0.02


class ReStyleLearner:
    """The encoder in training."""

    name = "restyle"

    def __init__(self, plan: Plan, base: Base) -> None:
        self.plan = plan
        rows, dim = base.generator_config.rows, base.generator_config.dim
        sizes = EncoderConfig(rows, dim, plan.size, plan.widths, plan.head_width, plan.units, channels=6)
        self.config: State = {"restyle_encoder": asdict(sizes)}
        self.encoder = E4EEncoder(sizes)
        with torch.no_grad():
            for head in self.encoder.heads:
                head.get_parameter("linear.weight").mul_(0.1)  # small steps to begin with
        self.networks = nn.ModuleDict({"restyle_encoder": self.encoder})

    def heads(self) -> list[nn.Parameter]:
        return [parameter for head in self.encoder.heads for parameter in head.get_submodule("linear").parameters()]

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        *_, (codes, _) = refine(base.generator, self.encoder, inversion)
        return base.edit(inversion, edit.edited + codes - inversion.codes).coarse

    def loss(self, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
        plan = self.plan
        photos = augment.odd(augment.colour(batch.photos, rng, 0.15), batch.persons, rng, 0.25)
        with low_precision(base.device):
            inversion = base.invert(photos)
            _, truth = base.critic(photos)
            steps = list(refine(base.generator, self.encoder, inversion))
            features = [base.critic(picture)[1] for _, picture in steps]
        truth = [level.detach() for level in truth]
        values = {
            "pixels": torch.stack([losses.multiscale_l1(picture, photos) for _, picture in steps]),
            "matching": torch.stack([losses.feature_distance(made, truth) for made in features]),
            "offset": torch.stack([(codes - inversion.codes).square().mean() for codes, _ in steps]),
        }
        total = 2 * values["pixels"] + plan.matching_weight * values["matching"] + plan.offset_weight * values["offset"]
        made = steps[-1][1]
        return Loss(total.mean(), {name: value[-1] for name, value in values.items()}, made)


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    refiner.train(pack, run, plan, device, ReStyleLearner)
