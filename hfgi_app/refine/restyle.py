"""ReStyle (Alaluf et al. 2021): an encoder that sees the photo and its own last render improves the codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.ops import channels_last
from hfgi_app.networks.stylegan2 import Generator, Styles
from hfgi_app.refine.base import Edit, Progress
from hfgi_app.types import Inversion, Latents, Method
from hfgi_app.weights import load_strict, part

ITERATIONS = 3


@dataclass(frozen=True, eq=False)
class ReStyleDetail:
    """How far the refined codes lie from e4e's, 1 x L x D."""

    offset: Tensor

    @property
    def nbytes(self) -> int:
        return self.offset.nbytes


class ReStyle:
    """Per photo: a few iterations of the encoder. Per edit: the offset it found is added to the edited codes.

    The paper starts from the mean face, or, bootstrapped, from another encoder's codes; here from e4e's.
    """

    method = Method(
        "restyle",
        "ReStyle",
        "Alaluf et al., ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement, ICCV 2021 "
        "(re-implementation, own weights)",
    )
    networks: tuple[str, ...] = ("restyle_encoder",)

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.generator = generator
        with torch.device("meta"):
            self.encoder = E4EEncoder(EncoderConfig(**config["restyle_encoder"]))
        load_strict(self.encoder, part(tensors, "restyle_encoder"), "the ReStyle weights")
        channels_last(self.encoder).to(generator.const.device).eval().requires_grad_(False)

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> ReStyleDetail:
        *_, (codes, _) = refine(self.generator, self.encoder, inversion)
        return ReStyleDetail(codes - inversion.codes)

    def render(self, detail: ReStyleDetail, edit: Edit) -> Tensor:
        before, after = (self.generator.styles(Latents(codes)) for codes in (edit.edited, edit.edited + detail.offset))
        styles = Styles(_shifted(edit.styles.convs, before.convs, after.convs), after.rgbs)
        return self.generator.finish(self.generator.begin(styles), styles)


def refine(
    generator: Generator, encoder: E4EEncoder, inversion: Inversion, iterations: int = ITERATIONS
) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes N x L x D and their render N x 3 x R x R after each iteration. No gradient passes from one to the next, as
    in the paper."""
    codes, picture = inversion.codes, inversion.coarse
    size = inversion.source.shape[-1]
    for _ in range(iterations):
        render = resize(picture.detach().float().clamp(-1, 1), size)
        codes = codes.detach() + encoder(torch.cat((inversion.source, render), 1))[0].float()
        picture = generator(codes)
        yield codes, picture


def _shifted(styles: tuple[Tensor, ...], before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Styles moved as the codes moved them: offsets that an edit made in style space stay."""
    return tuple(style + (new - old) for style, old, new in zip(styles, before, after, strict=True))
