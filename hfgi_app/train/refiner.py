"""What the stages of the refinement methods share: a frozen generator and encoder, a discriminator that goes on
learning, and between them a method's own networks.

A method brings a `Learner`, one file each; this file gives it photos that are inverted and edits as the method will see
them, optimises, averages, saves and shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from hfgi_app.images import resize
from hfgi_app.networks.discriminator import Discriminator
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.refine.base import Edit, invert
from hfgi_app.train import augment, directions, losses
from hfgi_app.train.data import Pack
from hfgi_app.train.loop import Average, Batch, State, advance, freeze, load, low_precision, sheet
from hfgi_app.types import Inversion, Latents


@dataclass(frozen=True)
class Plan:
    """Schedule of a method's stage. Intervals count steps, lengths count pictures."""

    size: int = 128
    pictures: int = 9_000
    batch: int = 4
    critic_channels: tuple[int, ...] = (128, 128, 128, 96, 48, 24)
    learning_rate: float = 2e-3
    head_learning_rate: float = 1e-2
    decay_from: float = 0.5
    half_life: float = 1_000
    gradient_norm: float = 5.0
    critic_every: int = 4
    r1_every: int = 32
    r1_weight: float = 1.0
    save_every: int = 3_000
    seed: int = 0


AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True, eq=False)
class Loss:
    """What one batch says: the sum to descend, its parts to log, and pictures for the discriminator to call fake."""

    total: Tensor
    values: dict[str, Tensor]
    fakes: Tensor


class Base:
    """The frozen generator and encoder of a run, and its discriminator."""

    def __init__(self, state: State, plan: Plan, device: torch.device, sliders: Tensor | None = None) -> None:
        """sliders: K x L x D, the end of each slider's range."""
        self.device = device
        self.generator_config = GeneratorConfig(**state["generator_config"])
        self.encoder_config = EncoderConfig(**state["encoder_config"])
        self.generator, self.encoder = Generator(self.generator_config), E4EEncoder(self.encoder_config)
        self.generator.load_state_dict(state["generator_average"])
        self.encoder.load_state_dict(state["encoder_average"])
        self.critic = Discriminator(plan.critic_channels[: len(self.generator_config.channels)])
        self.critic.load_state_dict(state["critic"])
        for module in (self.generator, self.encoder, self.critic):
            channels_last(module).to(device)
        freeze(self.generator)
        freeze(self.encoder)
        rows, dim = self.encoder_config.rows, self.encoder_config.dim
        self.sliders = (torch.empty(0, rows, dim) if sliders is None else sliders).to(device)

    @property
    def features(self) -> int:
        """Channels of the generator at the hook."""
        return self.generator_config.channels[self.generator.hook_block]

    @torch.no_grad()
    def invert(self, photos: Tensor) -> Inversion:
        """N x 3 x S x S -> what is computed once per photo, for a whole batch."""
        return invert(self.generator, self.encoder, photos)

    @torch.no_grad()
    def edit(self, inversion: Inversion, codes: Tensor) -> Edit:
        """Photos at edited codes N x L x D."""
        return Edit.of(self.generator, inversion.codes, Latents(codes))


class Learner(Protocol):
    """A method in training. `name` is the stage, the run's checkpoint and the shipped file."""

    name: str
    config: State
    """Constructor arguments per network, as the refiner's `load` reads them."""
    networks: nn.ModuleDict
    """What learns, under the names that the refiner loads."""

    def heads(self) -> list[nn.Parameter]:
        """Parameters with an equalised learning rate: a step of theirs does far less than one of the others."""
        ...

    def loss(self, base: Base, batch: Batch, rng: torch.Generator) -> Loss:
        """The method's losses on a batch."""
        ...

    def render(self, base: Base, inversion: Inversion, edit: Edit) -> Tensor:
        """The edited faces, N x 3 x R x R, as the refiner renders them."""
        ...


class Course:
    """A learner with its optimisers and averaged weights."""

    def __init__(self, plan: Plan, base: Base, learner: Learner) -> None:
        self.plan, self.base, self.learner, self.device = plan, base, learner, base.device
        channels_last(learner.networks).to(base.device)
        self.average = Average(learner.networks, plan.half_life)
        heads = learner.heads()
        known = {id(parameter) for parameter in heads}
        bodies = [parameter for parameter in learner.networks.parameters() if id(parameter) not in known]
        groups = [{"params": part} for part in (bodies, heads)]
        self.rates = (plan.learning_rate, plan.head_learning_rate, plan.learning_rate)
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self.critic_optimiser = torch.optim.Adam(base.critic.parameters(), betas=(0.0, 0.99), fused=True)
        self.seen = 0

    def state(self) -> State:
        """Everything needed to go on."""
        return {
            "seen": self.seen,
            "config": self.learner.config,
            "learners": self.learner.networks.state_dict(),
            "critic": self.base.critic.state_dict(),
            "average": self.average.tensors,
            "optimiser": self.optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def resume(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.seen = state["seen"]
        self.learner.networks.load_state_dict(state["learners"])
        self.base.critic.load_state_dict(state["critic"])
        self.average.tensors = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def step(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """One step of the method's networks, and of the discriminator where it is due."""
        plan, step = self.plan, self.seen // self.plan.batch
        remaining = (plan.pictures - self.seen) / (plan.pictures * (1 - plan.decay_from))
        groups = (*self.optimiser.param_groups, *self.critic_optimiser.param_groups)
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, max(remaining, 0.02))
        self.base.critic.requires_grad_(False)
        loss = self.learner.loss(self.base, batch, rng)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.networks.parameters(), plan.gradient_norm)
        self.optimiser.step()
        self.average.update(self.learner.networks, plan.batch)
        self.base.critic.requires_grad_(True)
        if step % plan.critic_every == 0:
            return loss.values | self._critic_step(batch.reals, loss.fakes.detach(), rng, step)
        return loss.values

    def _critic_step(self, reals: Tensor, fakes: Tensor, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        plan, critic = self.plan, self.base.critic
        with low_precision(self.device):
            real = critic(augment.differentiable(reals, rng))[0]
            fake = critic(augment.differentiable(fakes, rng))[0]
        total = losses.discriminator_loss(real, fake)
        values = {"critic": total.detach()}
        if step % plan.r1_every == 0:
            penalty = losses.r1_penalty(lambda x: critic(x)[0], augment.differentiable(reals, rng))
            total = total + penalty * plan.r1_weight / 2 * (plan.r1_every / plan.critic_every)
        self.critic_optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.critic_optimiser.step()
        return values

    @torch.no_grad()
    def evaluate(self, pack: Pack, path: Path) -> dict[str, float]:
        """Test MAE on [0, 1] of e4e and of the method with averaged weights; a sheet: test faces, e4e, method, then
        half a step towards another face by e4e and by the method."""
        networks = self.learner.networks
        live = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
        networks.load_state_dict(self.average.tensors)
        networks.eval()
        photos = pack.batch(pack.indices(test=True)[:64], self.plan.size, self.device)
        parts = [self._show(part) for part in photos.split(16)]
        coarse, made, stepped, edited = (torch.cat(column) for column in zip(*parts, strict=True))
        sheet(path, [rows[:12] for rows in (photos, coarse, made, stepped, edited)])
        networks.load_state_dict(live)
        networks.train()
        pictures = {"test_mae": made, "coarse_mae": coarse}
        return {name: round(float((p.clamp(-1, 1) - photos).abs().mean()) / 2, 5) for name, p in pictures.items()}

    def _show(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inversion = self.base.invert(photos)
        codes = inversion.codes
        still, moved = (self.base.edit(inversion, codes + t * (codes.roll(1, 0) - codes)) for t in (0.0, 0.5))
        made, edited = (self.learner.render(self.base, inversion, edit) for edit in (still, moved))
        return inversion.coarse, made, moved.coarse, edited


def random_steps(base: Base, inversion: Inversion, mirrored: Inversion, rng: torch.Generator) -> Tensor:
    """Codes N x L x D an edit away: some of the way to another photo's (as StyleRes simulates edits, Pehlivan et al.
    2023, section 3.3) or to the mirror image's, the same face turned the other way; and where the run has sliders, half
    of the time one of these somewhere in its range instead."""
    codes, count = inversion.codes, len(inversion.codes)

    def draw(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, 1, 1, generator=rng)).to(codes.device)

    turn = draw(0, 1) < 0.5
    towards = torch.where(turn, mirrored.codes, codes.roll(1, 0)) - codes
    steps = draw(0.2, 0.7) * torch.where(turn, 1.4, 1.0) * towards
    if len(base.sliders):
        chosen = base.sliders[torch.randint(len(base.sliders), (count,), generator=rng).to(codes.device)]
        steps = torch.where(draw(0, 1) < 0.5, draw(-1, 1) * chosen, steps)
    return codes + steps


def missed_edit(base: Base, edit: Edit, picture: Tensor, rng: torch.Generator) -> Tensor:
    """How much of an edit a render lacks, read by the encoder: `code_distance` + `step_distance`.

    The render is shaken a little first, so that no pattern of single pixels can answer for a face.
    """
    side = base.encoder_config.size
    shaken = augment.move(resize(picture.float(), side), rng, 0.01, 0.02, 0.02)
    with low_precision(base.device):
        read = base.encoder(shaken)[0].float()
    return code_distance(edit, read) + step_distance(edit, read)


def code_distance(edit: Edit, read: Tensor) -> Tensor:
    """How far codes N x L x D are from the edited ones, as a share of their size: the step itself may be tiny."""
    return (read - edit.edited).abs().mean() / edit.edited.abs().mean()


def step_distance(edit: Edit, read: Tensor) -> Tensor:
    """Which share of the step codes N x L x D lack, or have too much of: a method that smothers edits lacks some of
    each, and this sees it where `code_distance` sees mostly noise."""
    step = edit.edited - edit.codes
    size = step.square().sum((1, 2))
    share = ((read - edit.codes) * step).sum((1, 2)) / size.clamp(min=1e-8)
    return torch.where(size > 1e-8, (share - 1).abs().clamp(max=2), 0.0).mean()


def train(
    pack: Pack, run: Path, plan: AnyPlan, device: torch.device, build: Callable[[AnyPlan, Base], Learner]
) -> None:
    """Train until `plan.pictures` pictures were seen. Needs the generator stage's checkpoint of the same size; where
    the directions stage has run, half of the edits are its sliders.

    Raises FileNotFoundError where there is no generator.
    """
    state = load(run / f"generator{plan.size}.pt")
    if state is None:
        raise FileNotFoundError(f"Train the generator at {plan.size} px first.")
    torch.manual_seed(plan.seed)
    base = Base(state, plan, device, directions.ends(run))
    course = Course(plan, base, build(plan, base))
    if earlier := load(run / f"{course.learner.name}.pt"):
        course.resume(earlier)
    advance(course, plan, pack, run, course.learner.name)
