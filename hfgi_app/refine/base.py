"""What a refinement method is: consult a photo once, then render any edit of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from hfgi_app.images import resize
from hfgi_app.networks.e4e import E4EEncoder
from hfgi_app.networks.follow import Follower, Following
from hfgi_app.networks.stylegan2 import Generator, Partial, Styles
from hfgi_app.types import Inversion, Latents, Method

Progress = Callable[[float, str], None]
"""Called with the share done, 0..1, and what is being done; may raise to cancel."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit as a refiner sees it: unedited and edited codes, the generator stopped at its hook, the coarse edit.

    codes    1 x L x D, unedited
    edited   1 x L x D
    styles   of the edited latents
    partial  the generator's state at the hook for them
    coarse   1 x 3 x R x R, unclamped
    """

    codes: Tensor
    edited: Tensor
    styles: Styles
    partial: Partial
    coarse: Tensor

    @classmethod
    def of(cls, generator: Generator, codes: Tensor, latents: Latents) -> Edit:
        """The way from codes N x L x D to latents, for one photo or a batch."""
        styles = generator.styles(latents)
        partial = generator.begin(styles)
        return cls(codes, latents.w, styles, partial, generator.finish(partial, styles))


def invert(generator: Generator, encoder: E4EEncoder, crops: Tensor) -> Inversion:
    """N x 3 x S x S in [-1, 1] -> everything that is computed once per photo, for one photo or a batch."""
    codes, encoder_features = encoder(crops)
    still = Edit.of(generator, codes.float(), Latents(codes.float()))
    distortion = crops - resize(still.coarse.float().clamp(-1, 1), crops.shape[-1])
    at_hook = (still.partial.features, still.partial.image)
    return Inversion(crops, still.codes, encoder_features, *at_hook, still.coarse, distortion)


@dataclass(frozen=True, eq=False)
class Opened:
    """A Detail of the inversion alone."""

    inversion: Inversion
    nbytes: int = 0


@dataclass(frozen=True, eq=False)
class Followed:
    """What a method of our own weights is given of an edit, for one photo or a batch.

    following      how the photo follows it; its `distortion` is the map after the edit
    before, after  the coarse pictures N x 3 x S x S in [-1, 1], as the code alone makes them
    partial        the generator stopped at its hook, unedited where the photo stays
    coarse         N x 3 x R x R in [-1, 1], the coarse edit, unedited where the photo stays
    """

    following: Following
    before: Tensor
    after: Tensor
    partial: Partial
    coarse: Tensor


def follow(follower: Follower, inversion: Inversion, edit: Edit, *, bent: bool = False) -> Followed:
    """Let a photo follow an edit. bent: see `Follower`."""
    side = inversion.distortion.shape[-1]
    coarse, edited = (picture.detach().float().clamp(-1, 1) for picture in (inversion.coarse, edit.coarse))
    before, after = resize(coarse, side), resize(edited, side)
    following: Following = follower(inversion.distortion, before, after, bent=bent)
    partial = following.hold(edit.partial, inversion.generator_features, inversion.generator_image)
    return Followed(following, before, after, partial, following.held(edited, coarse))


class Detail(Protocol):
    """What a method keeps of one photo; it belongs to one session."""

    @property
    def nbytes(self) -> int:
        """Memory it holds beside the inversion."""
        ...


class Refiner(Protocol):
    """One file of this folder implements it once. Networks are read-only: everything of a photo lives in its Detail."""

    method: Method
    networks: tuple[str, ...]
    """Names of the networks it needs beside the generator; a model that has them all offers the method."""

    def load(self, generator: Generator, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Take the generator and build the method's own networks.

        tensors: by "<network>.<parameter>"; config: constructor arguments per network.
        Raises WeightsError where they do not fit.
        """
        ...

    def consult(self, inversion: Inversion, progress: Progress | None = None) -> Detail:
        """The method's Detail for one photo; computed once. It may take minutes where `progress` is worth giving."""
        ...

    def render(self, detail: Any, edit: Edit) -> Tensor:  # noqa: ANN401
        """The edited face, its lost detail brought back: 1 x 3 x R x R, unclamped. Pure: equal input, equal bits."""
        ...


@runtime_checkable
class Patient(Protocol):
    """A refiner whose `consult` takes so long that people are asked first."""

    def estimate(self, inversion: Inversion) -> float:
        """Seconds that `consult` will take on this machine, measured now."""
        ...
