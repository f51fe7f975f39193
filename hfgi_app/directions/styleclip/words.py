"""Models with phrases and pictures in one space: the embedded small one, and CLIP ViT-B/32 (Radford et al. 2021)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hfgi_app import weights
from hfgi_app.errors import RecipeError
from hfgi_app.images import resize
from hfgi_app.networks.words import TextImage, WordsConfig

MEDIA = (
    "photo", "photograph", "picture", "image", "portrait", "snapshot", "shot", "close up", "cropped photo",
    "color photo", "studio photo", "press photo", "digital picture",
)  # fmt: skip
FORMS = ("a {} of a", "a {} of the", "a {} of one", "the {} of a", "this is a {} of a", "a {} showing a")
TEMPLATES = ("{}", *(f"{form.format(medium)} {{}}" for medium in MEDIA for form in FORMS))
"""79 sentences around a phrase, to the same purpose as those of CLIP's authors: what they say averages out."""
ARTICLES = {"a", "an", "the"}
JOINTS = {"and", "in", "is", "of", "to", "who", "with"}


class Words(Protocol):
    """`name` says which model a relevance matrix was measured with; E is its dimension."""

    name: str
    side: int
    """Pixels that its picture tower reads; larger pictures only cost time."""

    def text(self, phrase: str) -> Tensor:
        """Unit vector E: the mean over all templates. Raises RecipeError for words that it cannot read."""
        ...

    def image(self, pictures: Tensor) -> Tensor:
        """Pictures N x 3 x R x R in [-1, 1], larger values clamped -> unit vectors N x E."""
        ...


def split(phrase: str) -> list[str]:
    """The words of a phrase in lower case, without articles and accents."""
    plain = unicodedata.normalize("NFKD", phrase.lower())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [word for word in re.findall(r"\w+", plain) if word not in ARTICLES]


def tokens(phrases: Sequence[str], config: WordsConfig) -> Tensor:
    """Phrases of known words as numbers N x T, cut where they are too long."""
    numbers = {word: index + 1 for index, word in enumerate(config.vocabulary)}
    lines = [[numbers[word] for word in split(phrase)][: config.length] for phrase in phrases]
    longest = max(map(len, lines))
    return torch.tensor([line + [0] * (longest - len(line)) for line in lines])


class SmallWords:
    """The embedded model: the words of its training captions, and no others."""

    name = "small"

    def __init__(self, network: TextImage) -> None:
        self.network = network.eval().requires_grad_(False)
        self.side = network.config.size

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> SmallWords:
        """From its tensors and its constructor's arguments. Raises WeightsError where they do not fit."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}
        network = TextImage(WordsConfig(**fields))
        weights.load_strict(network, tensors, "the words' weights")
        return cls(network)

    @property
    def known(self) -> tuple[str, ...]:
        """The words that say something about a face, in alphabetical order."""
        glue = {word for template in TEMPLATES for word in split(template.format(""))} | JOINTS
        return tuple(word for word in self.network.config.vocabulary if word not in glue)

    @torch.no_grad()
    def text(self, phrase: str) -> Tensor:
        unknown = [word for word in split(phrase) if word not in self.network.config.vocabulary]
        if unknown or not split(phrase):
            what = ", ".join(dict.fromkeys(f"{word:.20}" for word in unknown[:4])) or f"{phrase:.20}"
            raise RecipeError(f"The embedded text model does not know: {what}; it knows {', '.join(self.known)}.")
        return _mean(
            self.network.text(tokens([template.format(phrase) for template in TEMPLATES], self.network.config))
        )

    @torch.no_grad()
    def image(self, pictures: Tensor) -> Tensor:
        return self.network.image(resize(pictures.clamp(-1, 1).to(self.network.places.device), self.side))


class Clip:
    """CLIP ViT-B/32 through transformers, loaded at first use and fetched where it is not there yet."""

    name = "clip"
    side = 224
    MEAN = (0.48145466, 0.4578275, 0.40821073)
    DEVIATION = (0.26862954, 0.26130258, 0.27577711)
    CONTEXT = 77

    @torch.no_grad()
    def text(self, phrase: str) -> Tensor:
        if any(ord(letter) > 127 for word in split(phrase) for letter in word):
            raise RecipeError(f"The text model reads English, not {phrase!r:.40}; write the prompt in English.")
        encoded = self._tokenizer.encode_batch([template.format(phrase) for template in TEMPLATES])
        ids, mask = (torch.tensor([getattr(one, key) for one in encoded]) for key in ("ids", "attention_mask"))
        return _mean(F.normalize(self._model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output))

    @torch.no_grad()
    def image(self, pictures: Tensor) -> Tensor:
        # CLIP's own preparation: bicubic with antialiasing, then its training pictures' mean and deviation.
        size = (self.side, self.side)
        shares = F.interpolate(pictures.clamp(-1, 1).cpu(), size, mode="bicubic", antialias=True).clamp(-1, 1) / 2 + 0.5
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.MEAN, self.DEVIATION))
        features = self._model.get_image_features(pixel_values=(shares - mean) / deviation).pooler_output
        return F.normalize(features)

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401
        from transformers import CLIPConfig, CLIPModel

        tensors = weights.read_pickle(weights.fetch(weights.spec("clip")))
        model = cast(torch.nn.Module, CLIPModel(CLIPConfig()))  # the defaults are ViT-B/32's sizes
        kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}
        weights.load_strict(model, kept, "the CLIP weights")
        return model.eval().requires_grad_(False)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(weights.fetch(weights.spec("clip-tokenizer"))))
        tokenizer.enable_truncation(self.CONTEXT)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("<|endoftext|>"), pad_token="<|endoftext|>")
        return tokenizer


def _mean(vectors: Tensor) -> Tensor:
    mean: Tensor = F.normalize(vectors.mean(0), dim=0)
    return mean.cpu()
