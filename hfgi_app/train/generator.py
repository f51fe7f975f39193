"""Stage `generator`: generator, encoder and discriminator together, from small pictures to large.

An encoder that must reconstruct real faces teaches a small generator far sooner than a discriminator alone; half of
every adversarial batch comes from z, so that the generator can also be sampled. Run it at 64 px, then at 128 px: the
larger run continues from the smaller one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from hfgi_app.networks.discriminator import Discriminator
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.train import augment, data, losses
from hfgi_app.train.loop import Average, Batch, State, advance, load, low_precision, sheet


@dataclass(frozen=True)
class Plan:
    """Sizes and schedule of this stage. Intervals count steps, lengths count pictures."""

    size: int = 128
    pictures: int = 200_000
    batch: int = 4
    dim: int = 256
    channels: tuple[int, ...] = (256, 256, 256, 128, 64, 32)
    encoder_widths: tuple[int, int, int, int, int] = (16, 24, 40, 80, 128)
    head_width: int = 32
    base_width: int = 128
    critic_channels: tuple[int, ...] = (128, 128, 128, 96, 48, 24)
    learning_rate: float = 2.5e-3
    encoder_learning_rate: float = 1e-3
    decay_from: float = 0.7
    half_life: float = 3_000
    mapping_learning_rate: float = 2e-2
    critic_every: int = 4
    r1_every: int = 32
    r1_weight: float = 1.0
    matching_every: int = 2
    matching_from: int = 10_000
    adversarial_from: int = 7_000
    adversarial_weight: float = 0.08
    save_every: int = 6_000
    seed: int = 0

    @property
    def blocks(self) -> int:
        """Resolutions from 4 to the size."""
        return self.size.bit_length() - 2


class Trio:
    """Generator, encoder, discriminator, their optimisers and the averaged weights that are shipped."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.device = plan, device
        blocks, channels = plan.blocks, plan.channels[: plan.blocks]
        self.generator_config = GeneratorConfig(channels, plan.dim, min(64, plan.size), mapping_layers=4, noise=False)
        strides = (2, 1, 2, 2) if plan.size > self.generator_config.hook else (1, 1, 2, 2)
        self.encoder_config = EncoderConfig(
            2 * blocks,
            plan.dim,
            plan.size,
            plan.encoder_widths,
            plan.head_width,
            (1, 2, 2, 2),
            strides,
            plan.base_width,
        )
        self.generator = channels_last(Generator(self.generator_config)).to(device)
        self.encoder = channels_last(E4EEncoder(self.encoder_config)).to(device)
        self.critic = channels_last(Discriminator(plan.critic_channels[:blocks])).to(device)
        with torch.no_grad():
            for row, head in enumerate(self.encoder.heads):
                head.get_parameter("linear.weight").mul_(
                    5 if row == 0 else 2
                )  # a narrow head's codes start far too small
        self.average = (Average(self.generator, plan.half_life), Average(self.encoder, plan.half_life))
        mapping = list(self.generator.mapping.parameters())
        rest = [weights for name, weights in self.generator.named_parameters() if not name.startswith("mapping.")]
        # The mapping's layers are scaled to learn a hundred times more slowly than they are told to.
        self.rates = (plan.learning_rate, plan.encoder_learning_rate, plan.mapping_learning_rate, plan.learning_rate)
        self.optimiser = torch.optim.Adam(
            [
                {"params": rest, "betas": (0.5, 0.99)},
                {"params": list(self.encoder.parameters()), "betas": (0.9, 0.99)},
                {"params": mapping, "betas": (0.5, 0.99)},
            ],
            fused=True,
        )
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), betas=(0.0, 0.99), fused=True)
        self.cloud = torch.zeros(0, plan.dim, device=device)
        self.seen = 0

    def state(self) -> State:
        """Everything needed to go on."""
        return {
            "seen": self.seen,
            "size": self.plan.size,
            "generator_config": asdict(self.generator_config),
            "encoder_config": asdict(self.encoder_config),
            "generator": self.generator.state_dict(),
            "encoder": self.encoder.state_dict(),
            "critic": self.critic.state_dict(),
            "cloud": self.cloud,
            "generator_average": self.average[0].tensors,
            "encoder_average": self.average[1].tensors,
            "optimiser": self.optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def resume(self, state: State) -> None:
        """Go on from a checkpoint of the same size, or grow from one of half the size."""
        same = state["size"] == self.plan.size
        state = state if same else _inherited(state)
        for name, module in (("generator", self.generator), ("encoder", self.encoder), ("critic", self.critic)):
            module.load_state_dict(state[name], strict=same)
        if not same:
            self._grow(state)
            return
        self.average[0].tensors = {k: v.to(self.device) for k, v in state["generator_average"].items()}
        self.average[1].tensors = {k: v.to(self.device) for k, v in state["encoder_average"].items()}
        if "optimiser" in state:  # a restored run starts with fresh moments
            self.cloud = state["cloud"].to(self.device)
            self.optimiser.load_state_dict(state["optimiser"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        self.seen = state["seen"]

    def step(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """One step of generator, encoder and mapping, and of the discriminator where it is due."""
        return _step(self, batch.photos, batch.reals, rng)

    def evaluate(self, pack: data.Pack, path: Path) -> dict[str, float]:
        """Test MAE and a sheet of the averaged weights."""
        return evaluate(self, pack, path)

    def _grow(self, state: State) -> None:
        """The new block starts by adding nothing to the picture: growing begins where the small model was."""
        torch.nn.init.zeros_(self.generator.to_rgbs[-1].get_parameter("conv.weight"))
        for average, module, name in zip(
            self.average, (self.generator, self.encoder), ("generator_average", "encoder_average"), strict=True
        ):
            fresh = {key: value.clone() for key, value in module.state_dict().items()}
            average.tensors = fresh | {key: value.to(self.device) for key, value in state[name].items()}


def _inherited(state: State) -> State:
    """What a model of twice the size can take over: all but the average code, which has a row for every layer, and the
    discriminator's first layer; its blocks are the larger one's later blocks."""
    encoders = {
        name: {key: value for key, value in state[name].items() if key != "latent_avg"}
        for name in ("encoder", "encoder_average")
    }
    kept = {name: value for name, value in state["critic"].items() if not name.startswith("from_rgb")}
    critic = {
        f"blocks.{int(name.split('.')[1]) + 1}.{name.split('.', 2)[2]}" if name.startswith("blocks.") else name: value
        for name, value in kept.items()
    }
    return {**state, **encoders, "critic": critic}


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen, going on from what the run folder holds."""
    trio = Trio(plan, device)
    state = load(run / f"generator{plan.size}.pt") or load(run / f"generator{plan.size // 2}.pt")
    if state:
        trio.resume(state)
    advance(trio, plan, pack, run, f"generator{plan.size}")


def _step(trio: Trio, photos: Tensor, reals: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    plan, step = trio.plan, trio.seen // trio.plan.batch
    remaining = (plan.pictures - trio.seen) / (plan.pictures * (1 - plan.decay_from))
    groups = (*trio.optimiser.param_groups, *trio.critic_optimiser.param_groups)
    for group, rate in zip(groups, trio.rates, strict=True):
        group["lr"] = rate * min(1.0, max(remaining, 0.02))
    values, fakes = _generator_step(trio, photos, rng, step)
    if trio.seen >= plan.adversarial_from and step % plan.critic_every == 0:
        values |= _critic_step(trio, reals, fakes, rng, step)
    trio.average[0].update(trio.generator, plan.batch)
    trio.average[1].update(trio.encoder, plan.batch)
    return values


def _generator_step(trio: Trio, photos: Tensor, rng: torch.Generator, step: int) -> tuple[dict[str, Tensor], Tensor]:
    plan, half = trio.plan, trio.plan.batch // 2
    changed = augment.move(augment.colour(photos[:half], rng, 0.1), rng, 0.015, 0.03, 0.02)
    photos = torch.cat((changed, photos[half:]))
    with low_precision(trio.device):
        codes = trio.encoder(photos)[0].float()
    adversarial = trio.seen >= plan.adversarial_from
    base, offsets = codes[:, :1], codes[:, 1:] - codes[:, :1]
    whole = (torch.randperm(plan.batch, generator=rng) < plan.batch - half).to(trio.device)
    codes = torch.where(whole[:, None, None], codes, base)
    w = torch.cat((codes, _sampled(trio, half, rng))) if adversarial else codes
    with low_precision(trio.device):
        pictures = trio.generator(w)
    weight = losses.features_weight(plan.size).to(trio.device)
    pixels = losses.multiscale_l1(pictures[: plan.batch], photos, weight)
    values = {"pixels": pixels, "offsets": offsets.square().mean(), "base": base.square().mean()}
    values["mapping"] = _mapping_loss(trio, base[:, 0], rng)
    total = 2 * pixels + 0.02 * values["offsets"] + 0.005 * values["base"] + values["mapping"]
    trio.critic.requires_grad_(False)
    if adversarial:
        with low_precision(trio.device):
            score, _ = trio.critic(augment.differentiable(pictures[half:], rng))
        values["adversarial"] = losses.generator_loss(score)
        total = total + plan.adversarial_weight * values["adversarial"]
    if trio.seen >= plan.matching_from and step % plan.matching_every == 0:
        values["matching"] = _matching(trio, pictures[: plan.batch], photos)
        total = total + 2 * values["matching"]
    trio.optimiser.zero_grad(set_to_none=True)
    total.backward()
    trio.optimiser.step()
    trio.critic.requires_grad_(True)
    return values, pictures[half:].detach()


def _sampled(trio: Trio, count: int, rng: torch.Generator) -> Tensor:
    """Codes of random z, one w on all rows."""
    w: Tensor = trio.generator.mapping(torch.randn(count, trio.plan.dim, generator=rng).to(trio.device))
    return w[:, None].expand(-1, trio.generator_config.rows, -1)


def _mapping_loss(trio: Trio, codes: Tensor, rng: torch.Generator) -> Tensor:
    """How far the mapping's w lie from the latest base codes, which it follows and does not move; relative to their
    mean square. The cloud keeps 512 of them."""
    trio.cloud = torch.cat((trio.cloud, codes.detach()))[-512:]
    w = trio.generator.mapping(torch.randn(len(trio.cloud), trio.plan.dim, generator=rng).to(trio.device))
    return losses.sliced_wasserstein(w, trio.cloud, rng) / trio.cloud.square().mean()


def _matching(trio: Trio, made: Tensor, photos: Tensor) -> Tensor:
    with low_precision(trio.device):
        _, truth = trio.critic(photos)
        _, features = trio.critic(made)
    return losses.feature_distance(features, [level.detach() for level in truth])


def _critic_step(trio: Trio, reals: Tensor, fakes: Tensor, rng: torch.Generator, step: int) -> dict[str, Tensor]:
    plan = trio.plan
    with low_precision(trio.device):
        both = torch.cat((augment.differentiable(reals, rng), augment.differentiable(fakes, rng)))
        real = trio.critic(both[: len(reals)])[0]
        fake = trio.critic(both[len(reals) :])[0]
    total = losses.discriminator_loss(real, fake)
    values = {"critic": total.detach()}
    if step % plan.r1_every == 0:
        values["r1"] = losses.r1_penalty(lambda x: trio.critic(x)[0], augment.differentiable(reals, rng))
        total = total + values["r1"] * plan.r1_weight / 2 * (plan.r1_every / plan.critic_every)
    trio.critic_optimiser.zero_grad(set_to_none=True)
    total.backward()
    trio.critic_optimiser.step()
    return values


@torch.no_grad()
def evaluate(trio: Trio, pack: data.Pack, path: Path) -> dict[str, float]:
    """Test MAE on [0, 1] of the averaged weights, from all rows and from the base code alone, and a sheet: test faces,
    both reconstructions, samples."""
    generator, encoder = Generator(trio.generator_config), E4EEncoder(trio.encoder_config)
    generator.load_state_dict(trio.average[0].tensors)
    encoder.load_state_dict(trio.average[1].tensors)
    generator, encoder = generator.to(trio.device).eval(), encoder.to(trio.device).eval()
    photos = pack.batch(pack.indices(test=True)[:64], trio.plan.size, trio.device)
    codes = torch.cat([encoder(part)[0] for part in photos.split(16)])
    made, based = (torch.cat([generator(part) for part in w.split(16)]) for w in (codes, codes[:, :1].expand_as(codes)))
    z = torch.randn(12, trio.plan.dim, generator=torch.Generator().manual_seed(1)).to(trio.device)
    w = generator.mapping(z)[:, None].expand(-1, trio.generator_config.rows, -1)
    sheet(path, [photos[:12], made[:12], based[:12], generator(w)[: len(photos)]])
    errors = (round(float((picture.clamp(-1, 1) - photos).abs().mean()) / 2, 5) for picture in (made, based))
    return dict(zip(("test_mae", "test_mae_base"), errors, strict=True))
