"""Stage `hfgi`: alignment and consultation on a frozen generator and encoder.

The published recipe (Wang et al. 2022, section 3.4) aligns randomly warped distortion maps back to the unedited
picture, so its alignment never sees an edit. Here every pair has a known truth: a photo x and the same photo bent or
moved, y. The map of x is to be aligned to the coarse y, and the render must be y; where y is x this is plain
reconstruction. Random steps between the codes of two photos (as StyleRes simulates edits) keep the method from
smothering an edit: the render must change where the face is as the coarse picture changes, and stay the photo in the
corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from hfgi_app.images import resize
from hfgi_app.networks.discriminator import Discriminator
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.hfgi import Consultation, ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.irse import ResidualUnit
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.train import augment, data, losses
from hfgi_app.train.loop import Average, Log, State, freeze, load, low_precision, save, sheet
from hfgi_app.types import Latents


@dataclass(frozen=True)
class Plan:
    """Sizes and schedule of this stage. Intervals count steps, lengths count pictures."""

    size: int = 128
    pictures: int = 9_000
    batch: int = 4
    alignment_widths: tuple[int, int, int, int] = (8, 16, 24, 32)
    consultation_widths: tuple[int, int, int] = (24, 32, 48)
    head_width: int = 64
    critic_channels: tuple[int, ...] = (128, 128, 128, 96, 48, 24)
    learning_rate: float = 2e-3
    head_learning_rate: float = 1e-2
    decay_from: float = 0.5
    half_life: float = 1_000
    critic_every: int = 4
    r1_every: int = 32
    r1_weight: float = 1.0
    step_share: float = 0.25
    matching_weight: float = 1.0
    alignment_weight: float = 3.0
    response_weight: float = 2.0
    adversarial_weight: float = 0.02
    save_every: int = 4_000
    seed: int = 0


class Consultant:
    """The frozen stack and the two networks that learn."""

    def __init__(self, plan: Plan, base: State, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.device = plan, device
        generator_config = GeneratorConfig(**base["generator_config"])
        encoder_config = EncoderConfig(**base["encoder_config"])
        self.generator, self.encoder = Generator(generator_config), E4EEncoder(encoder_config)
        self.generator.load_state_dict(base["generator_average"])
        self.encoder.load_state_dict(base["encoder_average"])
        self.critic = Discriminator(plan.critic_channels[: len(generator_config.channels)])
        self.critic.load_state_dict(base["critic"])
        self.config: State = {
            "alignment": {"widths": plan.alignment_widths},
            "consultation": {
                "features": generator_config.channels[self.generator.hook_block],
                "widths": plan.consultation_widths,
                "head_width": plan.head_width,
                "strides": strides(plan.size, generator_config.hook),
            },
        }
        self.alignment = DistortionAlignment(**self.config["alignment"])
        self.consultation = ConsultationEncoder(**self.config["consultation"])
        pass_through(self.alignment)
        with torch.no_grad():
            for head in (self.consultation.scale, self.consultation.shift):
                head[-1].get_parameter("weight").mul_(0.1)
        for module in (self.generator, self.encoder, self.critic, self.alignment, self.consultation):
            channels_last(module).to(device)
        freeze(self.generator)
        freeze(self.encoder)
        self.learners = nn.ModuleDict({"alignment": self.alignment, "consultation": self.consultation})
        self.average = Average(self.learners, plan.half_life)
        heads = [*self.consultation.scale.parameters(), *self.consultation.shift.parameters()]
        bodies = [
            *self.alignment.parameters(),
            *self.consultation.input_layer.parameters(),
            *self.consultation.stages.parameters(),
        ]
        # The heads' learning rate is equalised, so a step of theirs does a twentieth of what one of the others does.
        self.rates = (plan.learning_rate, plan.head_learning_rate, plan.learning_rate)
        groups = [{"params": bodies}, {"params": heads}]
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), betas=(0.0, 0.99), fused=True)
        self.seen = 0

    def state(self) -> State:
        """Everything needed to go on."""
        return {
            "seen": self.seen,
            "config": self.config,
            "learners": self.learners.state_dict(),
            "critic": self.critic.state_dict(),
            "average": self.average.tensors,
            "optimiser": self.optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def resume(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.seen = state["seen"]
        self.learners.load_state_dict(state["learners"])
        self.critic.load_state_dict(state["critic"])
        self.average.tensors = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def render(self, distortion: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distortion map and edited codes -> picture, coarse edit, aligned map."""
        with torch.no_grad():
            styles = self.generator.styles(Latents(w))
            partial = self.generator.begin(styles)
            coarse = self.generator.finish(partial, styles)
        aligned = self.alignment(distortion, resize(coarse.clamp(-1, 1), distortion.shape[-1]))
        scale, shift = self.consultation(aligned)
        return self.generator.finish(partial, styles, features=Consultation(scale, shift)), coarse, aligned

    @torch.no_grad()
    def invert(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and distortion map."""
        codes = self.encoder(photos)[0]
        return codes, photos - resize(self.generator(codes).clamp(-1, 1), photos.shape[-1])


def strides(size: int, hook: int) -> tuple[int, int]:
    """The consultation encoder's strides for a map of this size."""
    return {4: (2, 2), 2: (2, 1), 1: (1, 1)}[size // hook]


@torch.no_grad()
def pass_through(alignment: DistortionAlignment) -> None:
    """Let the alignment begin as the distortion map itself: its first layer, its last skip and its last shortcuts carry
    the three channels through, and the residuals beside them start at zero. Learning to
    copy would take most of a run."""
    deviation = 0.15  # of a distortion map: what batch norm, which sees unit deviation, is to give back
    convolution, norm, activation = (alignment.input_layer.get_submodule(str(index)) for index in range(3))
    _carry(convolution.get_parameter("weight"), norm.get_parameter("weight"), 0, deviation)
    activation.get_parameter("weight")[:3] = 1
    units = [unit for unit in alignment.up[-1].children() if isinstance(unit, ResidualUnit)]
    skip_width = len(norm.get_parameter("weight"))
    shortcuts = [unit.shortcut_layer for unit in units if isinstance(unit.shortcut_layer, nn.Sequential)]
    for index, shortcut in enumerate(shortcuts):
        kernel = shortcut.get_parameter("0.weight")
        first = kernel.shape[1] - skip_width if index == 0 else 0  # the skip lies behind the decoder's own channels
        _carry(kernel, shortcut.get_parameter("1.weight"), first, deviation)
    for unit in units:
        unit.res_layer.get_parameter("4.weight").zero_()


def _carry(kernel: Tensor, scale: Tensor, first: int, deviation: float) -> None:
    """Output channels 0-2 become input channels first..first + 2, at this deviation."""
    middle = kernel.shape[-1] // 2
    kernel[:3] = 0
    for channel in range(3):
        kernel[channel, first + channel, middle, middle] = 1
    scale[:3] = deviation


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen; needs the generator stage's checkpoint of the same size.

    Raises FileNotFoundError where there is none.
    """
    base = load(run / f"generator{plan.size}.pt")
    if base is None:
        raise FileNotFoundError(f"Train the generator at {plan.size} px first.")
    stack = Consultant(plan, base, device)
    path = run / "hfgi.pt"
    if state := load(path):
        stack.resume(state)
    rng, log = torch.Generator().manual_seed(plan.seed + stack.seen), Log(run / "log.jsonl")
    every, sharp = pack.indices(test=False), pack.indices(test=False, sharp=plan.size > 64)
    next_save = stack.seen + plan.save_every
    with tqdm(total=plan.pictures, initial=stack.seen, desc="hfgi", unit="picture") as bar:
        while stack.seen < plan.pictures:
            photos = augment.flip(pack.batch(_draw(every, plan.batch, rng), plan.size, device), rng)
            reals = augment.flip(pack.batch(_draw(sharp, plan.batch, rng), plan.size, device), rng)
            log.add(plan.batch, _step(stack, photos, reals, rng))
            stack.seen += plan.batch
            bar.update(plan.batch)
            if stack.seen >= min(next_save, plan.pictures):
                next_save += plan.save_every
                save(path, stack.state())
                figures = evaluate(stack, pack, run / "sheets" / f"hfgi-{stack.seen:07d}.png")
                log.write(stage="hfgi", seen=stack.seen, **figures)


def _draw(indices: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return indices[torch.randint(len(indices), (count,), generator=rng)]


def _pairs(photos: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photos, and the same photos after a known change of geometry: half unchanged, the others bent or moved."""
    photos = augment.colour(photos, rng, 0.15)
    kinds = torch.randint(4, (photos.shape[0],), generator=rng).tolist()
    bent, moved = augment.bend(photos, rng, 0.06), augment.move(photos, rng, 0.02, 0.03, 0.04)
    options = (photos, photos, bent, moved)
    return photos, torch.stack([options[kind][row] for row, kind in enumerate(kinds)])


def _step(stack: Consultant, photos: Tensor, reals: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    plan, step = stack.plan, stack.seen // stack.plan.batch
    remaining = (plan.pictures - stack.seen) / (plan.pictures * (1 - plan.decay_from))
    groups = (*stack.optimiser.param_groups, *stack.critic_optimiser.param_groups)
    for group, rate in zip(groups, stack.rates, strict=True):
        group["lr"] = rate * min(1.0, max(remaining, 0.02))
    stack.critic.requires_grad_(False)
    edits = max(1, int(len(photos) * plan.step_share))
    total, values, fakes = _pair_loss(stack, photos[edits:], rng)
    response, more, edited = _response_loss(stack, photos, edits, rng)
    stack.optimiser.zero_grad(set_to_none=True)
    (total + response).backward()
    stack.optimiser.step()
    stack.average.update(stack.learners, plan.batch)
    stack.critic.requires_grad_(True)
    if step % plan.critic_every == 0:
        values |= _critic_step(stack, reals, torch.cat((fakes, edited)), rng, step)
    return values | more


def _pair_loss(stack: Consultant, photos: Tensor, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    plan = stack.plan
    before, after = _pairs(photos, rng)
    with low_precision(stack.device):
        codes, maps = stack.invert(torch.cat((before, after)))
    count = len(photos)
    with low_precision(stack.device):
        made, _, aligned = stack.render(maps[:count], codes[count:].float())
        _, truth = stack.critic(after)
        score, features = stack.critic(made)
    pixels = losses.multiscale_l1(made, after)
    alignment = F.l1_loss(aligned.float(), maps[count:].float())
    matching = losses.feature_distance(features, [level.detach() for level in truth])
    adversarial = losses.generator_loss(score)
    total = (
        2 * pixels
        + plan.matching_weight * matching
        + plan.alignment_weight * alignment
        + plan.adversarial_weight * adversarial
    )
    unaligned = F.l1_loss(maps[:count].float(), maps[count:].float())
    values = {"pixels": pixels, "alignment": alignment, "unaligned": unaligned, "matching": matching}
    return total, values, made.detach()


def _response_loss(
    stack: Consultant, photos: Tensor, edits: int, rng: torch.Generator
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Steps towards the codes of other photos: the low-pass change of the face must be the coarse picture's."""
    plan, sources = stack.plan, photos[:edits]
    with low_precision(stack.device):
        codes, maps = stack.invert(photos[: 2 * edits])
        codes = codes.float()
        towards = codes[edits:] - codes[:edits]
        w = codes[:edits] + (0.2 + 0.5 * torch.rand(edits, 1, 1, generator=rng).to(stack.device)) * towards
        made, coarse, _ = stack.render(maps[:edits], w)
        before = sources - maps[:edits]
        score, _ = stack.critic(made)
    face = losses.ellipse(plan.size // 4, (0.5, 0.55), (0.36, 0.48)).to(stack.device)  # the head, as FFHQ aligns it
    change, wanted = F.avg_pool2d(made - sources, 4), F.avg_pool2d(coarse.clamp(-1, 1) - before, 4)
    response = (face * (change - wanted).abs()).mean() + ((1 - face) * change.abs()).mean()
    total = plan.response_weight * response + plan.adversarial_weight * losses.generator_loss(score)
    return total * edits / plan.batch * 2, {"response": response}, made.detach()


def _critic_step(stack: Consultant, reals: Tensor, fakes: Tensor, rng: torch.Generator, step: int) -> dict[str, Tensor]:
    plan = stack.plan
    with low_precision(stack.device):
        real = stack.critic(augment.differentiable(reals, rng))[0]
        fake = stack.critic(augment.differentiable(fakes, rng))[0]
    total = losses.discriminator_loss(real, fake)
    values = {"critic": total.detach()}
    if step % plan.r1_every == 0:
        penalty = losses.r1_penalty(lambda x: stack.critic(x)[0], augment.differentiable(reals, rng))
        total = total + penalty * plan.r1_weight / 2 * (plan.r1_every / plan.critic_every)
    stack.critic_optimiser.zero_grad(set_to_none=True)
    total.backward()
    stack.critic_optimiser.step()
    return values


@torch.no_grad()
def evaluate(stack: Consultant, pack: data.Pack, path: Path) -> dict[str, float]:
    """Test MAE on [0, 1] of e4e and of HFGI with the averaged weights, and a sheet: test faces, e4e, HFGI, a step."""
    live = {name: tensor.clone() for name, tensor in stack.learners.state_dict().items()}
    stack.learners.load_state_dict(stack.average.tensors)
    stack.learners.eval()
    photos = pack.batch(pack.indices(test=True)[:64], stack.plan.size, stack.device)
    parts = []
    for part in photos.split(16):
        codes, maps = stack.invert(part)
        step = codes + 0.5 * (codes.roll(1, 0) - codes)
        parts.append((stack.render(maps, codes)[0], part - maps, stack.render(maps, step)[0]))
    made, coarse, edited = (torch.cat(column) for column in zip(*parts, strict=True))
    sheet(path, [photos[:12], coarse[:12], made[:12], edited[:12]])
    stack.learners.load_state_dict(live)
    stack.learners.train()
    return {
        "test_mae": round(float((made.clamp(-1, 1) - photos).abs().mean()) / 2, 5),
        "coarse_mae": round(float((coarse - photos).abs().mean()) / 2, 5),
    }
