"""GANSpace (Haerkoenen et al. 2020): principal components of W on a range of rows.

A slider is relative, so that zero is no edit. The published presets are absolute coordinates; `relative` turns one
into the strength that reaches it from where the photo is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from hfgi_app import weights
from hfgi_app.directions.base import Facts, Source, described, rows
from hfgi_app.errors import WeightsError
from hfgi_app.types import Delta, Group, Inversion, Slider

FILE = "ffhq_pca.pt"
UNNAMED = 8
"""So many components are shown where none has a name yet."""


@dataclass(frozen=True)
class Preset:
    """A named edit: component, first row, row after the last, the published absolute strength, and what it shows.

    sign: -1 turns the component round.
    """

    component: int
    start: int
    end: int | None
    strength: float = 0.0
    label: str = ""
    sign: int = 1


PUBLISHED: Mapping[str, Preset] = {
    "eyes": Preset(54, 7, 8, 20, "Close eyes"),
    "beard": Preset(58, 7, 9, -20, "Beard"),
    "lip": Preset(34, 10, 11, 20, "Lipstick"),
    "smile": Preset(46, 4, 5, -20, "Smile"),
    "big_smile": Preset(19, 4, 5, 20, "Big smile"),
    "wide_smile": Preset(23, 3, 6, 20, "Wide smile"),
    "huge_grin": Preset(28, 4, 6, 20, "Huge grin"),
    "caricature_smile": Preset(26, 3, 8, 13, "Caricature smile"),
    "show_front_teeth": Preset(59, 4, 5, 40, "Show front teeth"),
    "displeased": Preset(36, 4, 7, 20, "Displeased"),
    "disgusted": Preset(43, 6, 8, -30, "Disgusted"),
    "in_awe": Preset(23, 3, 6, -15, "In awe"),
    "screaming": Preset(35, 3, 7, -15, "Screaming"),
    "fearful_eyes": Preset(54, 4, 10, 20, "Fearful eyes"),
    "scary_eyes": Preset(33, 6, 8, 20, "Scary eyes"),
    "eyebrow_thickness": Preset(37, 8, 9, 20, "Thick eyebrows"),
    "mascara_vs_beard": Preset(41, 6, 9, 20, "Mascara, no beard"),
    "head_angle_up": Preset(11, 1, 4, 20, "Head up"),
    "face_roundness": Preset(37, 0, 5, 20, "Round face"),
    "short_face": Preset(32, 2, 6, -20, "Short face"),
    "large_jaw": Preset(22, 3, 6, 20, "Large jaw"),
    "nose_length": Preset(51, 4, 5, -20, "Long nose"),
    "wrinkles": Preset(20, 6, 7, -18, "Wrinkles"),
    "eye_wrinkles": Preset(28, 6, 8, 20, "Wrinkles at the eyes"),
    "boyishness": Preset(8, 2, 5, 20, "Boyish"),
    "elderly_woman": Preset(34, 6, 7, 20, "Elderly woman"),
    "happy_elderly_lady": Preset(27, 4, 7, 20, "Happy elderly woman"),
    "lipstick_and_age": Preset(34, 6, 11, 20, "Lipstick and age"),
    "dark_hair": Preset(16, 8, 9, 20, "Dark hair"),
    "white_hair": Preset(57, 7, 10, -24, "White hair"),
    "curly_hair": Preset(47, 3, 6, 20, "Curly hair"),
    "frizzy_hair": Preset(31, 2, 6, 20, "Frizzy hair"),
    "happy_frizzy_hair": Preset(30, 0, 8, 20, "Frizzy hair and smile"),
    "straight_bowl_cut": Preset(20, 4, 5, -20, "Straight bowl cut"),
    "hairline": Preset(21, 4, 5, -20, "Hairline"),
    "bald": Preset(21, 2, 5, 20, "Bald"),
    "dark_hair_and_light_pos": Preset(14, 8, 9, 20, "Dark hair, light moved"),
    "dark_bg_shiny_hair": Preset(13, 8, 9, 20, "Dark background, shiny hair"),
    "light_lr": Preset(15, 8, 9, 10, "Light from the side"),
    "sunlight_in_face": Preset(10, 8, 9, 10, "Sunlight in the face"),
    "overexposed": Preset(27, 8, 18, 15, "Overexposed"),
    "background_blur": Preset(49, 6, 9, 20, "Blurred background"),
}
"""The edits published for the 1024 px FFHQ generator: HFGI's three, then StyleRes' others."""
WIDE = {"eyes": (-30, 45), "beard": (-30, 30), "lip": (-30, 30), "nose_length": (-30, 30), "short_face": (-25, 25)}
"""Ranges that later editors found usable, where they are not those of `_shown`."""


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of W: mean D, directions K x D of unit length, deviations K."""

    mean: Tensor
    directions: Tensor
    deviations: Tensor

    @classmethod
    def published(cls, tensors: Mapping[str, Tensor]) -> Components:
        """From the published layout: mean 1 x D, comp K x 1 x D, std K."""
        return cls(tensors["mean"].reshape(-1), tensors["comp"].flatten(1), tensors["std"].reshape(-1))


def _shown(presets: Mapping[str, Preset]) -> dict[str, Facts]:
    """A published preset lies within its slider; one on the left side says so."""
    facts: dict[str, Facts] = {}
    for name, preset in presets.items():
        reach = max(25.0, abs(preset.strength))
        low, high = WIDE.get(name, (-reach, reach))
        label = preset.label or name.capitalize()
        arrow = "\N{LEFTWARDS ARROW} " if preset.strength < 0 else ""
        facts[name] = {"label": f"{arrow}{label}", "low": low, "high": high, "step": 1}
    return facts


class GANSpace:
    """One slider per preset; strength counts standard deviations of the component."""

    group: ClassVar[Group] = Group(
        "ganspace", "Features", "Main ways in which the model's faces differ, on some of its layers."
    )
    files: ClassVar[tuple[str, ...]] = (FILE,)

    def __init__(
        self,
        components: Components,
        presets: Mapping[str, Preset] = PUBLISHED,
        facts: Mapping[str, Facts] | None = None,
    ) -> None:
        self.components = components
        self._presets = presets
        self._described = described(self.group.name, presets, _shown(presets) if facts is None else facts)

    @classmethod
    def build(cls, source: Source) -> GANSpace | None:
        """The published file in the folder, else the model's own "ganspace.<tensor>"; the facts of a named component
        are its slider's and `component`, `start`, `end`."""
        if path := source.published(FILE):
            return cls(_published(path, source))
        stored = weights.part(source.tensors, cls.group.name)
        if not stored:
            return None
        facts: Mapping[str, Facts] = source.config.get(cls.group.name) or _unnamed()
        try:
            components = Components(stored["mean"], stored["directions"], stored["deviations"])
            presets = {
                name: Preset(own["component"], own["start"], own["end"], sign=own.get("sign", 1))
                for name, own in facts.items()
            }
        except KeyError as error:
            raise WeightsError(f"The principal components lack {error}; make them again.") from None
        return cls(_fitting(components, presets, source), presets, facts)

    def sliders(self) -> Sequence[Slider]:
        return [slider for slider, _ in self._described.values()]

    def delta(self, name: str, inversion: Inversion) -> Delta:
        preset, parts = self._presets[name], self.components
        step = preset.sign * parts.deviations[preset.component] * parts.directions[preset.component]
        w = rows(step.to(inversion.codes), inversion.codes.shape[1], preset.start, preset.end)
        return Delta(w=w, curve=self._described[name][1])

    def relative(self, preset: Preset, inversion: Inversion) -> float:
        """The strength that takes this photo to the preset's absolute coordinate, read from row 0 of its codes."""
        parts, which = self.components, preset.component
        row = inversion.codes[0, 0].cpu()
        coordinate = torch.dot(row - parts.mean, parts.directions[which]) / parts.deviations[which]
        return preset.sign * (preset.strength - float(coordinate))


def _unnamed() -> dict[str, Facts]:
    """The first components on all rows."""
    names = {f"component_{number}": number - 1 for number in range(1, UNNAMED + 1)}
    return {name: {"component": index, "start": 0, "end": None, "unit": "SD"} for name, index in names.items()}


def _published(path: Path, source: Source) -> Components:
    found = weights.read_pickle(path)
    tensors = found if isinstance(found, dict) else {}
    shapes = {name: tuple(value.shape) for name, value in tensors.items() if isinstance(value, Tensor)}
    count, dim = max(shapes.get("std", ()), default=0), source.generator.dim
    least = 1 + max(preset.component for preset in PUBLISHED.values())
    if count < least or shapes != {"mean": (1, dim), "comp": (count, 1, dim), "std": (count,)}:
        expected = f"mean 1 x {dim}, comp K x 1 x {dim} and std K, K at least {least}"
        raise WeightsError(f"{path.name} holds no principal components of this model; expected {expected}.")
    return Components.published(tensors)


def _fitting(parts: Components, presets: Mapping[str, Preset], source: Source) -> Components:
    count, dim = parts.deviations.numel(), source.generator.dim
    shapes = (parts.mean.shape, parts.directions.shape, parts.deviations.shape)
    if shapes != ((dim,), (count, dim), (count,)) or any(not 0 <= one.component < count for one in presets.values()):
        raise WeightsError("The principal components do not fit this model; make them with `directions pca`.")
    return parts
