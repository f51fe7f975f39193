"""Stage `relevance`: what every style channel does to a picture, in the words' space (StyleCLIP, section 6).

A channel is set to its mean +- 5 standard deviations in a few faces; the mean direction between the pictures'
embeddings is its row. Layers before a channel's are computed once per face, not once per channel, and what the text
model does not see is not rendered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from hfgi_app import weights
from hfgi_app.directions.styleclip import StyleCLIP
from hfgi_app.directions.styleclip.words import Clip, SmallWords, Words
from hfgi_app.errors import WeightsError
from hfgi_app.models import Models
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig, Styles, SynthesisLayer, ToRGB
from hfgi_app.train import data, samples
from hfgi_app.train.directions import encode
from hfgi_app.train.loop import Log, load, low_precision, save
from hfgi_app.types import Latents

REACH = 5.0
"""Standard deviations."""
FACES = 16
"""The paper took 100; the mean over so few, each both ways, is close to it."""
BATCH = 64
"""Pictures made at once."""
PEOPLE = 512
"""Faces whose codes say how much each channel varies."""


@torch.no_grad()
def measure(generator: Generator, codes: Tensor, words: Words, part: Path, faces: int = FACES) -> dict[str, Tensor]:
    """Tensors of a `Relevance` for the generator whose faces have the codes N x L x D.

    part: keeps the finished layers, so that an interrupted run goes on, and goes away at the end.
    """
    styles = generator.styles(Latents(codes)).convs
    state = load(part) or {"rows": []}
    rows: list[Tensor] = state["rows"]
    with tqdm(total=sum(style.shape[1] for style in styles), desc="relevance", unit="channel") as bar:
        for layer, started in enumerate(_started(generator, codes[:faces], words)):
            if layer >= len(rows):
                rows.append(_rows(started, layer, styles[layer], words, bar))
                save(part, {"rows": rows})
            else:
                bar.update(len(rows[layer]))
    unseen = [torch.zeros(style.shape[1], rows[0].shape[1]) for style in styles[len(rows) :]]
    part.unlink(missing_ok=True)
    return {
        "matrix": torch.cat([*rows, *unseen]),
        "deviations": torch.cat([style.std(0) for style in styles]).cpu(),
    }


@torch.no_grad()
def train(pack: data.Pack, run: Path, size: int, device: torch.device) -> None:
    """Measure the run's generator with its words, on the codes of training pictures, into relevance.pt.

    Raises FileNotFoundError where the stages generator and words have not run.
    """
    base, trained = load(run / f"generator{size}.pt"), load(run / "words.pt")
    if base is None or trained is None:
        raise FileNotFoundError(f"Train the generator at {size} px and the words first.")
    words = SmallWords.build(trained["average"], trained["config"])
    words.network.to(device)
    generator = Generator(GeneratorConfig(**base["generator_config"]))
    generator.load_state_dict(base["generator_average"])
    shown = pack.indices(test=False)
    some = shown[torch.randperm(len(shown), generator=torch.Generator().manual_seed(0))[:PEOPLE]]
    codes = encode(replace(pack, pictures=pack.pictures[some]), base, size, device)[: len(some)].to(device)
    began = time.perf_counter()
    save(
        run / "relevance.pt", measure(channels_last(generator).to(device).eval(), codes, words, run / "relevance.part")
    )
    Log(run / "log.jsonl").write(stage="relevance", faces=FACES, seconds=round(time.perf_counter() - began))


@torch.no_grad()
def sampled(models: Models) -> Tensor:
    """Codes of the model's own faces, N x L x D."""
    mapped = torch.cat([samples.mapped(models, seed) for seed in range(PEOPLE)])
    return mapped[:, None].expand(-1, models.generator.config.rows, -1)


@torch.no_grad()
def encoded(models: Models, pack: data.Pack) -> Tensor:
    """Codes of a pack's pictures, N x L x D, the first ones of a fixed shuffling."""
    some = torch.randperm(len(pack.pictures), generator=torch.Generator().manual_seed(0))[:PEOPLE]
    crops = (pack.batch(part, models.encoder_size, models.device) for part in some.split(BATCH))
    return torch.cat([models.encoder(crop)[0] for crop in crops])


def text_model(models: Models) -> Words:
    """CLIP where it was fetched before, else the model's own. Raises WeightsError where there is neither."""
    if weights.at_hand(weights.spec(Clip.name)):
        return Clip()
    family = models.families.get(StyleCLIP.group.name)
    if not isinstance(family, StyleCLIP) or family.words is None:
        raise WeightsError("There is no text model; run `weights fetch clip` and `weights fetch clip-tokenizer` first.")
    return family.words


def save_for(models: Models, codes: Tensor, words: Words, folder: Path, faces: int) -> Path:
    """Measure a loaded model, into a directions folder. Raises OSError where it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = measure(models.generator, codes, words, folder / "styleclip.part", faces)
    family, path = StyleCLIP.group.name, folder / "styleclip.safetensors"
    tensors = {f"{family}.{name}": tensor for name, tensor in measured.items()}
    weights.save(path, tensors, {"config": json.dumps({family: facts(words.name)})})
    return path


def facts(words: str) -> dict[str, dict[str, str]]:
    """What is stored beside a matrix: the text model it was measured with."""
    return {"matrix": {"words": words}}


@dataclass(frozen=True, eq=False)
class _Started:
    """A generator stopped before one of its layers: features and RGB skip of N faces."""

    generator: Generator
    styles: Styles
    x: Tensor
    image: Tensor | None

    def run(self, first: int, last: int) -> _Started:
        """After the layers first .. last - 1."""
        x, image = self.x, self.image
        for layer in range(first, last):
            x = cast(SynthesisLayer, self.generator.layers[layer])(x, self.styles.convs[layer])
            if layer % 2 == 0:
                image = cast(ToRGB, self.generator.to_rgbs[layer // 2])(x, self.styles.rgbs[layer // 2], image)
        return _Started(self.generator, self.styles, x, image)

    def with_values(self, layer: int, channels: Tensor, values: Tensor) -> _Started:
        """M copies of all faces, the k-th with `values[k]` in the channel `channels[k]` of a layer."""
        copies, faces = len(channels), len(self.x)
        convs = [style.repeat(copies, 1) for style in self.styles.convs]
        convs[layer][torch.arange(copies * faces), channels.repeat_interleave(faces)] = values.repeat_interleave(faces)
        rgbs = [style.repeat(copies, 1) for style in self.styles.rgbs]
        image = None if self.image is None else self.image.repeat(copies, 1, 1, 1)
        return _Started(self.generator, Styles(tuple(convs), tuple(rgbs)), self.x.repeat(copies, 1, 1, 1), image)


def _layers(generator: Generator, words: Words) -> int:
    """Layers up to the first resolution that is no smaller than what the text model reads."""
    return next((2 * block + 1 for block in range(12) if 4 * 2**block >= min(words.side, generator.config.size)), 0)


def _started(generator: Generator, codes: Tensor, words: Words) -> Iterator[_Started]:
    """Before each of the layers that show."""
    const = generator.const.expand(len(codes), -1, -1, -1)
    started = _Started(generator, generator.styles(Latents(codes)), const, None)
    for layer in range(_layers(generator, words)):
        yield started
        started = started.run(layer, layer + 1)


def _rows(started: _Started, layer: int, style: Tensor, words: Words, bar: tqdm) -> Tensor:
    """Unit vectors, one for each channel of the layer; style: its values among faces, N x channels."""
    mean, reach = style.mean(0), REACH * style.std(0)
    rows, last = [], _layers(started.generator, words)
    for channels in torch.arange(style.shape[1], device=style.device).split(max(BATCH // (2 * len(started.x)), 1)):
        values = torch.cat((mean[channels] + reach[channels], mean[channels] - reach[channels]))
        with low_precision(style.device):
            moved = started.with_values(layer, channels.repeat(2), values).run(layer, last)
        seen = words.image(cast(Tensor, moved.image).float())
        above, below = seen.reshape(2, len(channels), len(started.x), -1)
        rows.append(F.normalize(F.normalize(above - below, dim=2).mean(1), dim=1).cpu())
        bar.update(len(channels))
    return torch.cat(rows)
