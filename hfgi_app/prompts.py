"""Typed prompts: "NEUTRAL -> TARGET = STRENGTH [@ BETA]", in recipes, on the command line and on the page alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from hfgi_app.errors import RecipeError

FORM = "NEUTRAL -> TARGET = STRENGTH [@ BETA], such as: face -> smiling face = 1"
LONGEST = 200
"""Characters on either side of the arrow; the text models read no longer phrases."""


@dataclass(frozen=True)
class Prompt:
    """From what the photo shows to what it should show (StyleCLIP's global directions, Patashnik et al. 2021).

    neutral, target  plain English phrases, without the signs "->", "=" and "@"
    strength         any finite number; 0 is no edit
    beta             0..1: only channels of style at least so relevant move; None leaves it to the direction

    Raises RecipeError, in one sentence, for anything else.
    """

    neutral: str
    target: str
    strength: float = 1.0
    beta: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "neutral", _phrase(self.neutral, "before the arrow"))
        object.__setattr__(self, "target", _phrase(self.target, "after the arrow"))
        if self.neutral.casefold() == self.target.casefold():
            raise RecipeError(f"The prompt says {self.target!r} on both sides of the arrow; ask for something else.")
        object.__setattr__(self, "strength", _number(self.strength, "strength"))
        if self.beta is not None:
            object.__setattr__(self, "beta", _number(self.beta, "beta"))
            if not 0 <= self.beta <= 1:
                raise RecipeError(f"A prompt's beta must lie between 0 and 1, not {self.beta:g}.")

    @property
    def unit(self) -> Prompt:
        """The same prompt at strength 1: one direction of style."""
        return replace(self, strength=1.0)

    def __str__(self) -> str:
        beta = "" if self.beta is None else f" @ {_written(self.beta)}"
        return f"{self.neutral} -> {self.target} = {_written(self.strength)}{beta}"

    @classmethod
    def parse(cls, text: str) -> Prompt:
        """Read what `str` writes. Raises RecipeError for anything else."""
        sides, equals, numbers = text.partition("=")
        neutral, arrow, target = sides.partition("->")
        strength, at, beta = numbers.partition("@")
        if not arrow or not equals:
            raise RecipeError(f"The prompt {_short(text)} is not of the form {FORM}.")
        return cls(neutral, target, _read(strength, "strength"), _read(beta, "beta") if at else None)


def _phrase(text: str, where: str) -> str:
    phrase = " ".join(text.split())
    if len(phrase) > LONGEST:
        raise RecipeError(f"The prompt has {len(phrase)} characters {where}; use at most {LONGEST}.")
    if not any(letter.isalpha() for letter in phrase):
        raise RecipeError(f"The prompt has no words {where}; write one of the form {FORM}.")
    if any(sign in phrase for sign in ("->", "=", "@")):
        raise RecipeError(f"The prompt's words {where} hold one of the signs -> = @; leave it out.")
    return phrase


def _read(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RecipeError(f"The prompt's {what} is {_short(text.strip())}; it must be a number.") from None


def _number(value: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise RecipeError(f"The prompt's {what} must be a finite number, not {value!r:.40}.")
    return float(value)


def _written(value: float) -> str:
    return repr(value).removesuffix(".0")


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:37]!r}..."
