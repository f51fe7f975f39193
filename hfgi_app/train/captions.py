"""Captions made from a pack's labels: which phrases are true of which picture, and phrases put together at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Labels = Mapping[str, Tensor]
NOUNS = ("face", "person", "head")
"""What is true of every picture; the first is the plainest."""
TURNED = {"yaw"}
"""Labels that a mirror image turns round."""
LEAST = 10
"""Pictures that a trait needs on either side."""


@dataclass(frozen=True)
class Trait:
    """One thing that can be said of a face.

    value: a number N from the labels (NaN where unknown); the trait holds from `high` up, fails from `low` down, and in
    between nobody says. adjectives stand before the noun, additions after it, nouns in its place.
    """

    name: str
    opposite: str
    value: Callable[[Labels], Tensor]
    high: float
    low: float
    adjectives: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """A phrase that says it plainly."""
        return f"{NOUNS[0]} {self.additions[0]}" if self.additions else (*self.nouns, *self.adjectives)[0]

    def truth(self, labels: Labels) -> Tensor:
        """1 where it holds, 0 where it fails, NaN where unknown: N."""
        value = self.value(labels)
        known = torch.where(value >= self.high, 1.0, torch.where(value <= self.low, 0.0, torch.nan))
        return torch.where(value.isnan(), torch.nan, known)


def _label(name: str, factor: float = 1.0) -> Callable[[Labels], Tensor]:
    return lambda labels: factor * labels[name]


def _hair(labels: Labels) -> Tensor:
    """Hair lightness where there is hair: a head top coloured like the skin says nothing."""
    return torch.where(labels["hair_skin_dist"] < 12, torch.nan, labels["hair_L"])


def _grey(labels: Labels) -> Tensor:
    """Light hair without colour."""
    light, colour = _hair(labels), labels["hair_chroma"]
    return torch.where(light > 38, 10 - colour, torch.where(light < 30, -10.0, torch.nan))


def _blond(labels: Labels) -> Tensor:
    light, colour = _hair(labels), labels["hair_chroma"]
    return torch.where(light > 38, colour - 14, torch.where(light < 30, -10.0, torch.nan))


def _beard(labels: Labels) -> Tensor:
    """Looked for in men only; women have none."""
    return torch.where(labels["gender"] == 0, 0.0, labels["facial_hair"])


TRAITS = (
    Trait(
        "smiling", "serious", _label("smile"), 0.25, -0.5,
        ("smiling", "happy", "cheerful", "grinning"),
        ("with a smile", "with a happy smile", "with a smiling expression", "smiling", "who smiles"),
    ),
    Trait(
        "serious", "smiling", _label("smile", -1), 0.7, -0.1,
        ("serious", "unsmiling", "stern"),
        ("with a serious expression", "without a smile", "not smiling", "with no smile", "with a stern expression"),
    ),
    Trait(
        "open mouth", "closed mouth", _label("mouth_open"), 0.13, 0.06, (),
        ("with an open mouth", "with mouth open", "showing teeth", "with teeth", "with open lips"),
    ),
    Trait(
        "closed mouth", "open mouth", _label("mouth_open", -1), -0.03, -0.1, (),
        ("with a closed mouth", "with mouth closed", "with closed lips", "not showing teeth", "without teeth"),
    ),
    Trait(
        "wide eyes", "narrow eyes", _label("eyes_open"), 0.295, 0.26, (),
        ("with wide eyes", "with open eyes", "with wide open eyes", "with big eyes"),
    ),
    Trait(
        "narrow eyes", "wide eyes", _label("eyes_open", -1), -0.24, -0.275, (),
        ("with narrow eyes", "with small eyes", "squinting", "with squinting eyes"),
    ),
    Trait(
        "glasses", "no glasses", _label("glasses"), 1, 0, (),
        ("with glasses", "wearing glasses", "with eyeglasses", "wearing spectacles", "who wears glasses"),
    ),
    Trait(
        "no glasses", "glasses", _label("glasses", -1), 0, -1, (),
        ("without glasses", "with no glasses", "not wearing glasses", "without eyeglasses", "without spectacles"),
    ),
    Trait(
        "turned right", "turned left", _label("yaw"), 6, 1, (),
        ("turned right", "looking right", "facing right", "turned to the right", "looking to the right")
    ),
    Trait(
        "turned left", "turned right", _label("yaw", -1), 6, 1, (),
        ("turned left", "looking left", "facing left", "turned to the left", "looking to the left")
    ),
    Trait(
        "facing forward", "", lambda labels: -labels["yaw"].abs(), -3, -8, ("frontal",),
        ("facing forward", "looking forward", "looking straight", "facing the camera", "looking at the camera"),
    ),
    Trait("looking up", "looking down", _label("pitch"), 4, 0, (), ("looking up", "facing up", "with head up")),
    Trait(
        "looking down", "looking up", _label("pitch", -1), 3, -1, (), ("looking down", "facing down", "with head down")
    ),
    Trait(
        "old", "young", _label("age_est"), 64, 56, ("old", "older", "elderly", "aged", "wrinkled"),
        ("with wrinkles", "in old age", "of old age"),
    ),
    Trait("young", "old", _label("age_est", -1), -48, -56, ("young", "younger", "youthful"), ("without wrinkles",)),
    Trait(
        "woman", "man", _label("gender", -1), 0, -1, ("female", "feminine"), (),
        ("woman", "lady", "female"),
    ),
    Trait(
        "man", "woman", _label("gender"), 1, 0, ("male", "masculine"), (), ("man", "gentleman", "male"),
    ),
    Trait(
        "dark hair", "light hair", lambda labels: -_hair(labels), -24, -38, ("dark haired",),
        ("with dark hair", "with black hair", "with dark brown hair"),
    ),
    Trait(
        "light hair", "dark hair", _hair, 48, 34, ("light haired",), ("with light hair",),
    ),
    Trait(
        "grey hair", "dark hair", _grey, 1, -2, ("grey haired", "white haired"),
        ("with grey hair", "with gray hair", "with white hair", "with silver hair"),
    ),
    Trait(
        "blond hair", "dark hair", _blond, 1, -2, ("blond",), ("with blond hair", "with blonde hair", "with fair hair")
    ),
    Trait(
        "bald", "hair", _label("hair_skin_dist", -1), -7, -20, ("bald",),
        ("with a bald head", "without hair", "with no hair", "who is bald"),
    ),
    Trait("hair", "bald", _label("hair_skin_dist"), 25, 12, (), ("with hair", "with thick hair", "with full hair")),
    Trait(
        "beard", "no beard", _beard, 1, 0, ("bearded", "unshaven"),
        ("with a beard", "with facial hair", "with a moustache", "with a mustache", "with stubble"),
    ),
    Trait(
        "no beard", "beard", lambda labels: -_beard(labels), 0, -1, ("shaven", "clean shaven"),
        ("without a beard", "with no beard", "without facial hair", "without a moustache"),
    ),
    Trait(
        "pale", "tanned", _label("skin_L"), 79, 72, ("pale",), ("with pale skin", "with light skin", "with fair skin")
    ),
    Trait("tanned", "pale", _label("skin_L", -1), -66, -74, ("tanned",), ("with tanned skin", "with dark skin")),
    Trait(
        "dark background", "light background", _label("bg_L", -1), -53, -58, (),
        ("with a dark background", "before a dark background", "in front of a dark background"),
    ),
    Trait(
        "light background", "dark background", _label("bg_L"), 66, 60, (),
        ("with a light background", "before a light background", "in front of a bright background"),
    ),
)  # fmt: skip


def truths(labels: Labels, traits: Sequence[Trait]) -> Tensor:
    """Which traits hold: N x K of 1, 0 and NaN."""
    return torch.stack([trait.truth(labels) for trait in traits], 1)


def present(labels: Labels) -> tuple[Trait, ...]:
    """The traits whose labels the pack has, with pictures enough."""
    found = []
    for trait in TRAITS:
        try:
            truth = trait.truth(labels)
        except KeyError:
            continue
        if min(int((truth == 1).sum()), int((truth == 0).sum())) >= LEAST:
            found.append(trait)
    return tuple(found)


def phrase(chosen: Sequence[Trait], draw: random.Random) -> str:
    """Words for all of the traits at once, in random order and phrasing."""
    noun = draw.choice(NOUNS)
    before: list[str] = []
    after: list[str] = []
    for trait in draw.sample(list(chosen), len(chosen)):
        options = [("noun", n) for n in trait.nouns] * (noun in NOUNS) * 3
        options += [("before", a) for a in trait.adjectives] + [("after", a) for a in trait.additions]
        place, words = draw.choice(options)
        if place == "noun":
            noun = words
        else:
            (before if place == "before" else after).append(words)
    joint = draw.choice((" and ", " ", ", "))
    return " ".join([*before, noun, joint.join(after)]).strip()


def conjunction(truth: Tensor, members: Tensor) -> Tensor:
    """Whether captions hold: truth N x K, members M x K (which traits a caption names) -> N x M of 1, 0 and NaN."""
    fails = (truth == 0).float() @ members.T.float() > 0
    unknown = truth.isnan().float() @ members.T.float() > 0
    return torch.where(fails, 0.0, torch.where(unknown, torch.nan, 1.0))
