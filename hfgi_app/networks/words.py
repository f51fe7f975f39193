"""A small text-image model: what CLIP is (Radford et al. 2021), for the words and pictures of one kind of portrait.

Two towers into one space: residual units for the picture, a transformer for the words. Cosines between the two are
high where the words are true of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.irse import stage, stem


@dataclass(frozen=True)
class WordsConfig:
    """Sizes of one model.

    vocabulary: the words it knows; the first has token 1, for 0 fills short phrases up.
    size: side of the picture it reads. widths: channels of the picture's stem and stages, each halving the side.
    """

    vocabulary: tuple[str, ...]
    size: int = 128
    widths: tuple[int, ...] = (16, 32, 48, 80, 128)
    text_width: int = 64
    text_layers: int = 2
    length: int = 40
    dim: int = 64


class TextImage(nn.Module):
    """`text` and `image` give unit vectors N x dim; `scale` and `shift` make a cosine the logit of "this is true"."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.config = config
        widths, wide = config.widths, config.text_width
        stages = [stage(a, b, 2, 2, gated=True) for a, b in pairwise(widths)]
        self.picture = nn.Sequential(nn.PixelUnshuffle(2), stem(12, widths[0]), *stages)
        self.picture_out = nn.Linear(widths[-1], config.dim)
        self.tokens = nn.Embedding(len(config.vocabulary) + 1, wide, padding_idx=0)
        self.places = nn.Parameter(0.01 * torch.randn(config.length, wide))
        layer = nn.TransformerEncoderLayer(wide, 4, 4 * wide, 0.0, "gelu", batch_first=True, norm_first=True)
        self.words = nn.TransformerEncoder(layer, config.text_layers, enable_nested_tensor=False)
        self.words_out = nn.Linear(wide, config.dim)
        self.scale = nn.Parameter(torch.tensor(2.3))  # its logarithm
        self.shift = nn.Parameter(torch.tensor(-3.0))

    def image(self, pictures: Tensor) -> Tensor:
        """Pictures N x 3 x size x size in [-1, 1]."""
        return F.normalize(self.picture_out(self.picture(pictures).mean((2, 3))), dim=1)

    def text(self, tokens: Tensor) -> Tensor:
        """Tokens N x T as whole numbers, T at most `length`, 0 after the last word."""
        empty = tokens == 0
        x = self.words(self.tokens(tokens) + self.places[: tokens.shape[1]], src_key_padding_mask=empty)
        seen = (~empty)[:, :, None].to(x)
        return F.normalize(self.words_out((x * seen).sum(1) / seen.sum(1)), dim=1)
