"""Models and a session that need no weights: quick, exact, and easy to see in the pixels.

A fake edit adds light to the feathered face square: `tone/red` to the red channel and so on, 10 levels a unit; each of
the many looks darkens it by a level a unit. The method e4e does half of that, and the method slow learns a photo first.
A typed prompt of a colour adds light to its channel, and some to the others unless it is strict; a photo of two faces
cannot be made blue.
As a script: `python tests/fakes.py EXAMPLES [SECONDS [wordless]]` runs the studio on them, SECONDS a frame.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfgi_app.composite import FEATHER
from hfgi_app.errors import NoFaceError, PhotoError, RecipeError
from hfgi_app.prompts import Prompt
from hfgi_app.types import Change, EditRecipe, Group, Method, Photo, Slider, TypedSlider

SIZE = 256
LESSON, STEPS = 2.0, 20
"""Seconds and steps that the slow method takes to learn a photo."""
TONES = ("red", "green", "blue")
WORDS = ("face", "smiling", *TONES)
USUAL, STRICTEST = 0.1, 0.4
"""The beta of prompts that give none, and the largest."""
ROOT = Path(__file__).parent.parent


class FakeModels:
    name = "fake"
    label = "Fake model, 256 px"
    note = "Adds light instead of age: for tests."

    def __init__(self, seconds: float = 0.0, follows_prompts: bool = True) -> None:
        self.seconds = seconds  # how long one frame takes
        self.follows_prompts = follows_prompts

    def sliders(self) -> list[Slider]:
        tones = [Slider(f"tone/{name}", name.title(), -5, 5, 0.1, "", "tone") for name in TONES]
        looks = [Slider(f"looks/look_{number}", f"Look {number}", -20, 20, 1, "", "looks") for number in range(1, 61)]
        return [*tones, Slider("light/exposure", "Exposure", -20, 40, 1, "\N{DEGREE SIGN}", "light"), *looks]

    def groups(self) -> list[Group]:
        return [
            Group("tone", "Tone", "Colours of light."),
            Group("light", "Light", "How much of it."),
            Group("looks", "Looks", "Each takes light away."),
        ]

    def methods(self) -> list[Method]:
        names = {"hfgi": "HFGI", "slow": "Slow one", "e4e": "e4e only"}
        return [Method(name, label, "A paper") for name, label in names.items()]


class FakeSession:
    """The surface of EditSession. A plain photo has no face; one at least twice as wide as high has two."""

    def __init__(self, models: FakeModels) -> None:
        self.models = models
        self.photo: Photo | None = None
        self.quad = np.zeros((4, 2))
        self.faces = self.face = 0
        self.nbytes = 0
        self.learnt = {"hfgi", "e4e"}

    def open(self, photo, *, face_index=None, aligned=False, progress=None):
        for ratio, doing in ((0.2, "Finding the face"), (0.6, "Learning the face")):
            if progress:
                progress(ratio, doing)
            time.sleep(self.models.seconds)
        if photo.std() < 4:
            raise NoFaceError("There is no face in this photo; choose one that shows a face.")
        height, width = photo.shape[:2]
        faces = 2 if width >= 2 * height else 1
        if not 0 <= (face_index or 0) < faces:
            raise NoFaceError(f"There is no face {face_index} in this photo.")
        self.photo, self.faces, self.face, self.nbytes = photo, faces, face_index or 0, photo.nbytes
        self.learnt = {"hfgi", "e4e"}
        centre = np.array([width * (self.face + 0.5) / faces, height * 0.45])
        right = 0.32 * min(height, width / faces) * np.array([np.cos(0.1), np.sin(0.1)])
        down = np.array([-right[1], right[0]])
        self.quad = np.stack(
            [centre - right - down, centre - right + down, centre + right + down, centre + right - down]
        )

    def preview(self, recipe: EditRecipe) -> Photo:
        time.sleep(self.models.seconds)
        photo, part = self._opened(), (np.arange(SIZE) + 0.5) / SIZE
        points = self.quad[0] + part[None, :, None] * self._right() + part[:, None, None] * self._down()
        column, row = np.floor(points).astype(int).transpose(2, 0, 1)
        square = photo[row.clip(0, photo.shape[0] - 1), column.clip(0, photo.shape[1] - 1)]
        return _add(square, self._light(recipe))

    def render(self, recipe: EditRecipe) -> Photo:
        time.sleep(self.models.seconds)
        photo = self._opened()
        if recipe.is_identity:
            return photo.copy()
        rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
        points = np.stack([columns, rows], -1) - self.quad[0]
        across = points @ self._right() / (self._right() @ self._right())
        along = points @ self._down() / (self._down() @ self._down())
        return _add(photo, (_ramp(across) * _ramp(along))[..., None] * self._light(recipe))

    def estimate(self, method: str) -> float:
        return 0.0 if method in self.learnt else LESSON

    def prepare(self, method: str, progress=None) -> None:
        if method not in {known.name for known in self.models.methods()}:
            raise RecipeError(f"This model has no method {method!r}.")
        for step in range(1, STEPS + 1):
            time.sleep(LESSON / STEPS)
            if progress:
                progress(step / STEPS, f"Step {step} of {STEPS}")
        self.learnt.add(method)

    def typed(self, prompt: Prompt) -> TypedSlider:
        self._opened()
        if not self.models.follows_prompts:
            raise RecipeError("This model cannot follow typed prompts; use its sliders.")
        words = re.sub("<.*?>", "", f"{prompt.neutral} {prompt.target}").split()  # a tag is taken for no word
        unknown = [word for word in words if word not in WORDS]
        if unknown:
            raise RecipeError(f"The text model does not know: {', '.join(unknown)}; it knows {', '.join(WORDS)}.")
        if self.faces > 1 and "blue" in prompt.target:
            raise RecipeError("No channel of this model answers to the prompt; write another target.")
        beta, reach = USUAL if prompt.beta is None else prompt.beta, 2.0 * self.faces
        if beta > STRICTEST:
            raise RecipeError(f"A beta of {beta:g} leaves no channel to move; use at most {STRICTEST} here.")
        name = f"{prompt.neutral} -> {prompt.target}"
        slider = Slider(name, prompt.target, -reach, reach, 0.1, "", "styleclip")
        return TypedSlider(replace(prompt.unit, beta=beta), slider, 1 + round(40 * (STRICTEST - beta)), STRICTEST)

    def changes(self, recipe: EditRecipe) -> tuple[Change, ...]:
        asked = tuple(Change(prompt.target, 0.8) for prompt in recipe.prompts)
        return () if recipe.is_identity else (*asked, Change("light", 0.5), Change("smile", -0.25))

    def close(self) -> None:
        self.photo, self.nbytes = None, 0

    def _opened(self) -> Photo:
        if self.photo is None:
            raise PhotoError("No photo is open.")
        return self.photo

    def _right(self):
        return self.quad[3] - self.quad[0]

    def _down(self):
        return self.quad[1] - self.quad[0]

    def _light(self, recipe: EditRecipe):
        strengths = dict(recipe.strengths)
        tones = np.array([strengths.get(f"tone/{name}", 0.0) for name in TONES])
        looks = sum(value for name, value in strengths.items() if name.startswith("looks/"))
        tones = tones + sum((self._tones(prompt) for prompt in recipe.prompts), np.zeros(3))
        return (10 * tones + strengths.get("light/exposure", 0.0) - looks) * (0.5 if recipe.method == "e4e" else 1)

    def _tones(self, prompt: Prompt):
        beta = self.typed(prompt).prompt.beta
        return prompt.strength * np.array(
            [2.0 if tone in prompt.target else 0.5 * (1 - beta / STRICTEST) for tone in TONES]
        )


def _ramp(at):
    part = np.clip(np.minimum(at, 1 - at) / FEATHER, 0, 1)
    return part * part * (3 - 2 * part)


def _add(photo: Photo, light) -> Photo:
    return np.clip(photo + light, 0, 255).round().astype(np.uint8)


@contextmanager
def running(script: Path, *arguments: str, temp: Path):
    """Run a script that launches the studio, in a process of its own that writes only to `temp`; gives its address."""
    places = {"GRADIO_TEMP_DIR": str(temp), "TMPDIR": str(temp), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | places, text=True) as process:
        try:
            yield next(line.split()[-1] + "/" for line in process.stdout if "local URL" in line)
        finally:
            process.terminate()


def main() -> None:
    from hfgi_app.ui import server, visits

    visits.EditSession = FakeSession
    server.CLEAN = (1, 1)
    seconds, wordless = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0, "wordless" in sys.argv
    server.serve(FakeModels(seconds, follows_prompts=not wordless), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
