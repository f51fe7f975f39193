"""Stage `words`: a small text-image model for the faces of one pack, from captions made of its labels.

Contrastive like CLIP, but which caption is true of which picture is known here, for every pair: pairs are judged one by
one (as in SigLIP, Zhai et al. 2023), and those that the labels leave open do not count. Half of the pictures are the
generator's reconstructions of the others, for it is the generator's pictures that will be compared with words.

Words that no picture of the pack shows together (bald women with glasses) would only ever be pushed away from pictures.
So at last the phrases learn alone that what words say together is what they say one by one, added up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from hfgi_app import images
from hfgi_app.directions.styleclip.words import TEMPLATES, SmallWords, split, tokens
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.networks.words import TextImage, WordsConfig
from hfgi_app.train import augment, captions, data
from hfgi_app.train.captions import Trait
from hfgi_app.train.directions import encode
from hfgi_app.train.loop import Average, Log, State, load, low_precision, save

PHRASES = 64
"""In a step that is about phrases alone."""


@dataclass(frozen=True)
class Plan:
    """Sizes and schedule of this stage; lengths count pictures, those of the phrases alone steps."""

    size: int = 128
    pictures: int = 60_000
    batch: int = 16
    learning_rate: float = 1.5e-3
    half_life: float = 4_000
    save_every: int = 6_400
    phrase_steps: int = 2_000
    phrase_learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Album:
    """uint8 pictures N x 3 x S x S and what is true of them, N x K; mirrored: of their mirror images."""

    pictures: Tensor
    truth: Tensor
    mirrored: Tensor

    def batch(self, chosen: Tensor, rng: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Those pictures in [-1, 1], half of them mirrored, and their truth."""
        turned = torch.rand(len(chosen), generator=rng) < 0.5
        pictures = images.unpacked(self.pictures[chosen].to(device))
        pictures = torch.where(turned[:, None, None, None].to(device), pictures.flip(3), pictures)
        return pictures, torch.where(turned[:, None], self.mirrored[chosen], self.truth[chosen])


def album(pack: data.Pack, made: Tensor | None, traits: Sequence[Trait], size: int, test: bool) -> Album:
    """Training or test pictures of a pack, then their reconstructions (uint8, one a picture of the pack), if any."""
    rows = pack.indices(test=test)
    photos = images.packed(pack.batch(rows, size, torch.device("cpu")))
    labels = {name: values[rows] for name, values in pack.labels.items()}
    turned = {name: -values if name in captions.TURNED else values for name, values in labels.items()}
    truth, mirrored = captions.truths(labels, traits), captions.truths(turned, traits)
    if made is None:
        return Album(photos, truth, mirrored)
    return Album(torch.cat((photos, made[rows])), truth.repeat(2, 1), mirrored.repeat(2, 1))


@torch.no_grad()
def reconstructions(pack: data.Pack, base: State, size: int, device: torch.device) -> Tensor:
    """Every picture of the pack as encoder and generator rebuild it, uint8 at the given size."""
    generator = Generator(GeneratorConfig(**base["generator_config"]))
    generator.load_state_dict(base["generator_average"])
    channels_last(generator).to(device).eval()
    codes = encode(pack, base, base["size"], device)[: len(pack.pictures)]
    parts = []
    for part in tqdm(codes.split(32), desc="reconstructions", unit="batch"):
        with low_precision(device):
            made = generator(part.to(device)).float()
        parts.append(images.packed(data.shrink(made, size)).cpu())
    return torch.cat(parts)


class Learner:
    """The model in training, and its averaged weights, which are shipped."""

    def __init__(self, plan: Plan, config: WordsConfig, traits: Sequence[Trait], device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.config, self.traits, self.device = plan, config, traits, device
        self.model = channels_last(TextImage(config)).to(device)
        self.average = Average(self.model, plan.half_life)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), weight_decay=0.05, fused=True)
        names = [trait.name for trait in traits]
        self.opposites = {k: names.index(trait.opposite) for k, trait in enumerate(traits) if trait.opposite in names}
        self.draw = random.Random(plan.seed)
        self.seen, self.added_up = 0, False

    def state(self) -> State:
        """Everything needed to go on."""
        return {
            "seen": self.seen,
            "added_up": self.added_up,
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "average": self.average.tensors,
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.average.tensors = {name: tensor.to(self.device) for name, tensor in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.seen, self.added_up = state["seen"], state["added_up"]
        self.draw.seed(self.plan.seed + self.seen)

    def step(self, pictures: Tensor, truth: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Learn from pictures B x 3 x S x S and what is true of them, B x K."""
        pictures = augment.move(augment.colour(pictures, rng, 0.08), rng, 0.03, 0.06, 0.06)
        phrases, members = self._captions(truth)
        holds = captions.conjunction(truth, members).to(self.device)
        with low_precision(self.device):
            seen = self.model.image(pictures.contiguous(memory_format=torch.channels_last))
        read = self.model.text(tokens(phrases, self.config).to(self.device))
        logits = self.model.scale.exp() * seen.float() @ read.T + self.model.shift
        loss = _balanced(logits, holds)
        self._rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(self.model, self.plan.batch)
        self.seen, self.added_up = self.seen + self.plan.batch, False
        return {"loss": loss}

    def add_up(self) -> None:
        """The phrases alone, from the averaged weights: what says one thing stays where it is, and what says several
        comes to lie where the sum of what each adds to a plain face does."""
        plan, model, words = self.plan, self.model, self.averaged()
        model.load_state_dict(self.average.tensors)
        plain, *alone = (words.text(phrase) for phrase in (captions.NOUNS[0], *(one.example for one in self.traits)))
        added = torch.stack(alone) - plain
        learning = [model.tokens, model.words, model.words_out]
        parameters = [model.places, *(parameter for part in learning for parameter in part.parameters())]
        optimiser = torch.optim.Adam(parameters, fused=True)
        for step in tqdm(range(plan.phrase_steps), desc="phrases", unit="step"):
            for group in optimiser.param_groups:
                group["lr"] = plan.phrase_learning_rate * (1 - step / plan.phrase_steps)
            lines = [self._consistent(self.draw.randint(1, 5)) for _ in range(PHRASES)]
            said = (captions.phrase([self.traits[trait] for trait in line], self.draw) for line in lines)
            read = tokens([self.draw.choice(TEMPLATES).format(phrase) for phrase in said], self.config)
            with torch.no_grad():
                single = words.network.text(read)
            sums = torch.stack([plain + added[line].sum(0) for line in lines])
            one = torch.tensor([len(line) == 1 for line in lines])[:, None]
            wanted = torch.where(one, single, F.normalize(sums, dim=1)).to(self.device)
            optimiser.zero_grad(set_to_none=True)
            (model.text(read.to(self.device)) - wanted).square().sum(1).mean().backward()
            optimiser.step()
        self.average.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.added_up = True

    def _consistent(self, count: int) -> list[int]:
        """So many traits, none the opposite of another."""
        order = self.draw.sample(range(len(self.traits)), len(self.traits))
        line: list[int] = []
        for trait in order:
            if not any(self.opposites.get(one) == trait or self.opposites.get(trait) == one for one in line):
                line.append(trait)
        return line[:count]

    def averaged(self) -> SmallWords:
        """The model as it will be shipped."""
        network = TextImage(self.config)
        network.load_state_dict(self.average.tensors)
        return SmallWords(network)

    def _rate(self) -> None:
        """Up over the first twentieth, level, down over the last half."""
        share = self.seen / self.plan.pictures
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * max(min(20 * share, 1.0, 2 * (1 - share)), 0.01)

    def _captions(self, truth: Tensor) -> tuple[list[str], Tensor]:
        """For every picture one that is true of it and one with a part turned into its opposite, then every trait
        alone; which traits each names, M x K."""
        chosen: list[list[int]] = []
        for row in truth:
            held = (row == 1).nonzero()[:, 0].tolist()
            some = self.draw.sample(held, min(len(held), self.draw.choice((1, 2, 2, 3, 4))))
            chosen.append(some)
            turned = [trait for trait in some if trait in self.opposites]
            if turned:
                one = self.draw.choice(turned)
                chosen.append([self.opposites[one] if trait == one else trait for trait in some])
        chosen += [[trait] for trait in range(len(self.traits))]
        members = torch.zeros(len(chosen), len(self.traits))
        for line, some in zip(members, chosen, strict=True):
            line[some] = 1
        said = (captions.phrase([self.traits[trait] for trait in some], self.draw) for some in chosen)
        return [self.draw.choice(TEMPLATES).format(phrase) for phrase in said], members


def train(pack: data.Pack, run: Path, plan: Plan, device: torch.device) -> None:
    """Train until `plan.pictures` pictures were seen, going on from what the run folder holds.

    With the run's generator half of the pictures are reconstructions. Raises ValueError where the labels say nothing.
    """
    traits = captions.present(pack.labels)
    if not traits:
        raise ValueError("The pack has no labels to make captions of; it needs a labels.csv with smile, yaw ...")
    config, size = WordsConfig(vocabulary(traits), plan.size), plan.size
    base = load(run / f"generator{size}.pt")
    made = None if base is None else reconstructions(pack, base, size, device)
    shown, unseen = (album(pack, made, traits, size, test) for test in (False, True))
    learner = Learner(plan, config, traits, device)
    if state := load(run / "words.pt"):
        learner.resume(state)
    rng, log = torch.Generator().manual_seed(plan.seed + learner.seen), Log(run / "log.jsonl")
    weights, next_save = _rarity(shown.truth), learner.seen + plan.save_every
    with tqdm(total=plan.pictures, initial=learner.seen, desc="words", unit="picture") as bar:
        while learner.seen < plan.pictures:
            chosen = torch.multinomial(weights, plan.batch, replacement=True, generator=rng)
            log.add(plan.batch, learner.step(*shown.batch(chosen, rng, device), rng))
            bar.update(plan.batch)
            if learner.seen >= min(next_save, plan.pictures):
                next_save += plan.save_every
                save(run / "words.pt", learner.state())
                log.write(stage="words", seen=learner.seen, **separation(learner.averaged(), unseen, traits))
    if not learner.added_up:
        learner.add_up()
        save(run / "words.pt", learner.state())
        log.write(stage="words", seen=learner.seen, **separation(learner.averaged(), unseen, traits))


def vocabulary(traits: Sequence[Trait]) -> tuple[str, ...]:
    """Every word that captions of these traits can hold, in alphabetical order."""
    said = [*TEMPLATES, *captions.NOUNS, "and", "with"]
    for trait in traits:
        said += [*trait.adjectives, *trait.additions, *trait.nouns]
    return tuple(sorted({word for phrase in said for word in split(phrase.format(""))}))


@torch.no_grad()
def separation(words: SmallWords, unseen: Album, traits: Sequence[Trait]) -> Mapping[str, float]:
    """For every trait, in how many of 100 pairs of test pictures the one of which it holds scores higher."""
    seen = torch.cat([words.image(images.unpacked(part)) for part in unseen.pictures.split(64)])
    figures = {}
    for column, trait in enumerate(traits):
        score = seen @ (words.text(trait.example) - words.text(captions.NOUNS[0]))
        holds, fails = (score[unseen.truth[:, column] == value] for value in (1, 0))
        if len(holds) and len(fails):
            figures[trait.name] = round(100 * float((holds[:, None] > fails).float().mean()), 1)
    return figures


def _balanced(logits: Tensor, holds: Tensor) -> Tensor:
    """Cross entropy of the pairs B x M, true and false ones weighing the same; open ones (NaN) nothing."""
    losses = F.binary_cross_entropy_with_logits(logits, holds.nan_to_num(), reduction="none")
    sides = [(holds == value).float() for value in (1, 0)]
    return torch.stack([(losses * side).sum() / side.sum().clamp(min=1) for side in sides]).sum()


def _rarity(truth: Tensor) -> Tensor:
    """How often to show each picture: the more, the rarer what is known of it."""
    sides = [(truth == value).float() for value in (1, 0)]
    weights = torch.stack([(side / side.mean(0).clamp(min=0.01)).sum(1) for side in sides]).sum(0)
    return weights.clamp(max=float(weights.quantile(0.98)))
