"""StyleCLIP (Patashnik et al. 2021): global directions for typed prompts, and the published latent mappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.base import Source, apply, described
from hfgi_app.directions.styleclip import calibrate, mappers, relevance
from hfgi_app.directions.styleclip.relevance import Direction, Relevance
from hfgi_app.directions.styleclip.words import Clip, SmallWords, Words
from hfgi_app.errors import RecipeError
from hfgi_app.networks.mapper import LatentMapper
from hfgi_app.prompts import Prompt
from hfgi_app.types import Change, Delta, Group, Inversion, Latents, Slider, TypedSlider

Picture = Callable[[Latents], Tensor]
"""What the generator makes of edited codes: 1 x 3 x R x R in [-1, 1]."""
MATRIX, STATISTICS = "fs3.npy", "S_mean_std"
SPECS = {
    MATRIX: "styleclip-relevance",
    STATISTICS: "styleclip-statistics",
    **{f"{name}.pt": f"mapper-{name}" for name in weights.MAPPERS},
}
PUBLISHED_SIZE = 1024


class StyleCLIP:
    """Sliders of the mappers, and `direction` for prompts; a mapper's strength multiplies its step for the photo."""

    group: ClassVar[Group] = Group(
        "styleclip",
        "Prompts",
        "Each leads from what the photo shows to what a phrase says it should show.",
    )
    files: ClassVar[tuple[str, ...]] = (MATRIX, STATISTICS, *(f"{name}.pt" for name in mappers.FACTS))

    def __init__(
        self, measured: Relevance | None, words: Words | None, steps: Mapping[str, LatentMapper] | None = None
    ) -> None:
        """measured, words: prompts need both, the matrix measured with that text model."""
        self.relevance, self.words = measured, words
        self._steps = steps or {}
        self._described = described(self.group.name, self._steps, mappers.FACTS)

    @classmethod
    def build(cls, source: Source) -> StyleCLIP | None:
        """From the folder's published files, or those fetched before, else from the model's own "styleclip.<tensor>"
        and the network "words"."""
        measured = _relevance(source)
        files = _published(source, [f"{name}.pt" for name in mappers.FACTS])
        steps = {path.stem: mappers.read(path) for path in files.values()}
        words = _words(source, SmallWords.name if measured is None else measured.words)
        return cls(measured, words, steps) if measured or words or steps else None

    @property
    def follows_prompts(self) -> bool:
        """Whether typed prompts become sliders; with mappers alone they do not."""
        return self.relevance is not None and self.words is not None

    def sliders(self) -> Sequence[Slider]:
        return [slider for slider, _ in self._described.values()]

    def delta(self, name: str, inversion: Inversion) -> Delta:
        """A mapper's step, from the codes before any edit."""
        return Delta(w=self._steps[name].to(inversion.codes.device)(inversion.codes))

    def direction(self, prompt: Prompt) -> Direction:
        """The prompt's global direction, for every photo the same.

        Raises RecipeError where the text model does not know the words, or no channel answers to them.
        """
        measured, words = self._measured()
        return relevance.direction(measured, words.text(prompt.neutral), words.text(prompt.target), prompt.beta)

    def typed(self, prompt: Prompt, codes: Tensor, picture: Picture) -> tuple[TypedSlider, Delta]:
        """The prompt as a slider for the photo with these codes, and one alpha of its direction.

        With the published matrix a strength is the published alpha and only the range is the photo's; with ours a
        strength of 1 changes every photo equally.
        """
        found = self.direction(prompt)
        step = Delta(styles=tuple((layer, offset.to(codes)) for layer, offset in found.styles))
        curve = calibrate.curve(lambda alpha: picture(apply(codes, [(alpha, step)])))
        if self._measured()[0].published:
            low, high, tick = curve(-calibrate.END), curve(calibrate.END), 0.1
        else:
            low, high, tick, step = -calibrate.END, calibrate.END, 0.05, replace(step, curve=curve)
        name = f"{prompt.neutral} -> {prompt.target}"
        slider = Slider(name, prompt.target, round(low, 1), round(high, 1), tick, "", self.group.name)
        shown = replace(prompt.unit, beta=found.beta)
        return TypedSlider(shown, slider, found.channels, found.strictest), step

    def changes(self, before: Tensor, after: Tensor, prompts: Sequence[Prompt]) -> tuple[Change, ...]:
        """What the text model sees change between two pictures 1 x 3 x R x R: first what was asked, then the rest."""
        _, words = self._measured()
        moved = (words.image(after) - words.image(before))[0].cpu()
        if float(moved.norm()) < calibrate.NOTHING:
            return ()
        share = F.normalize(moved, dim=0)
        asked = [Change(prompt.target, float(share @ self.direction(prompt).text)) for prompt in prompts]
        others = [Change(label, float(share @ text)) for label, text in calibrate.probes(words)]
        others = [change for change in others if abs(change.amount) >= calibrate.WORTH_SAYING]
        return (*asked, *sorted(others, key=lambda change: -abs(change.amount)))

    def _measured(self) -> tuple[Relevance, Words]:
        if self.relevance is None or self.words is None:
            raise RecipeError(
                "This model has no relevance matrix for typed prompts; make one with `directions styleclip`."
            )
        return self.relevance, self.words


def _relevance(source: Source) -> Relevance | None:
    own = weights.part(source.tensors, StyleCLIP.group.name)
    found = _published(source, (MATRIX, STATISTICS))
    if own and not source.published(MATRIX):
        facts = source.config.get(StyleCLIP.group.name, {}).get("matrix", {})
        return relevance.embedded(own, facts, source.generator)
    return relevance.published(found[MATRIX], found[STATISTICS], source.generator) if len(found) == 2 else None


def _words(source: Source, name: str) -> Words | None:
    if name == Clip.name:
        return Clip()
    tensors = weights.part(source.tensors, "words")
    return SmallWords.build(tensors, source.config["words"]) if tensors else None


def _published(source: Source, files: Sequence[str]) -> dict[str, Path]:
    """Those of the published files that are in the folder, or were fetched before."""
    if source.generator.size != PUBLISHED_SIZE:
        return {}
    found = {file: source.published(file) or weights.at_hand(weights.spec(SPECS[file])) for file in files}
    return {file: path for file, path in found.items() if path is not None}
