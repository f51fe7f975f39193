"""The page as HTML, style and script: built once from the catalogue of the loaded models."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from hfgi_app import images
from hfgi_app.composite import FEATHER
from hfgi_app.models import Models
from hfgi_app.types import PROMPTS, EditRecipe, Group, Method, Slider
from hfgi_app.ui.icons import ICONS, TAB

FOLDER = Path(__file__).parent
MANY = 12
"""Beyond this number sliders can be searched."""
THUMBNAIL = 96
SCRIPTS = (
    "canvas.js",
    "live.js",
    "page.js",
    "panel.js",
    "prompts.js",
    "recipe.js",
    "learn.js",
    "compare.js",
    "hands.js",
)
PHOTO = Method("", "Photo", "The photo itself")
"""What methods are held against."""
KEEP = Slider("keep", "Keep detail", 0, 1, 0.05, "", "")
STRENGTH = Slider("", "Strength", -1, 1, 0.1, "", "")
"""A typed prompt's; the script gives it its range."""
IDEAS = (
    "face -> smiling face with glasses",
    "face -> old face",
    "face -> face with blond hair",
    "face -> face with a beard",
    "face -> face with wide eyes",
    "man -> woman",
)
"""Typed prompts to try, in words that every text model knows."""


def head() -> str:
    """For the head of the document: the style sheet and the browser tab's picture."""
    picture = base64.b64encode(TAB.encode()).decode("ascii")
    return (
        f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml;base64,{picture}">'
        f"<style>{(FOLDER / 'page.css').read_text('utf-8')}</style>"
    )


def script(models: Models, examples: dict[str, Path]) -> str:
    """The script that runs once the page is there."""
    welcome = _welcome(models.sliders(), examples)
    values = {"LIMIT": images.MAX_BYTES, "FEATHER": FEATHER, "PROMPTS": PROMPTS, "IDEAS": IDEAS, "WELCOME": welcome}
    constants = [f"const {name} = {json.dumps(value)};" for name, value in values.items()]
    sources = [(FOLDER / name).read_text("utf-8") for name in SCRIPTS]
    return "\n".join(constants + sources)


def body(models: Models, examples: dict[str, Path]) -> str:
    """The page itself."""
    sliders = models.sliders()
    return _filled(
        "page.html",
        model=escape(models.label),
        note=escape(models.note),
        search="" if len(sliders) > MANY else "hidden",
        prompts=_filled("prompts.html", strength=_row(STRENGTH, star=False)) if models.follows_prompts else "",
        groups=_groups(models.groups(), sliders),
        methods="".join(_method(method, index == 0) for index, method in enumerate(models.methods())),
        lessons="".join(map(_lesson, models.methods())),
        tiles="".join(map(_tile, (PHOTO, *models.methods()))),
        sides="".join(_side(method) for method in (PHOTO, *models.methods())),
        keep=_row(KEEP, home=EditRecipe().keep, star=False),
        examples="".join(_example(index, name, path) for index, (name, path) in enumerate(examples.items())),
    )


def _filled(name: str, **parts: str) -> str:
    return Template((FOLDER / name).read_text("utf-8")).substitute(ICONS, **parts)


def _groups(groups: list[Group], sliders: list[Slider]) -> str:
    """Every group that has sliders, the first one open: what most people want is in sight, the rest is found."""
    filled = [(group, [slider for slider in sliders if slider.family == group.name]) for group in groups]
    filled = [(group, rows) for group, rows in filled if rows]
    return "".join(_group(group, rows, folded=index > 0) for index, (group, rows) in enumerate(filled))


def _group(group: Group, sliders: list[Slider], folded: bool) -> str:
    return f"""
      <details class="group" data-group="{escape(group.name)}" {"" if folded else "open"}>
        <summary>{ICONS["icon_fold"]}<h2>{escape(group.label)}</h2><span>{len(sliders)}</span></summary>
        <p class="about" {"" if folded else "hidden"}>{escape(group.note)}</p>
        {"".join(map(_row, sliders))}
      </details>"""


def _row(slider: Slider, home: float = 0, star: bool = True) -> str:
    name, label = escape(slider.name), escape(slider.label)
    unit = f"\N{NO-BREAK SPACE}{slider.unit}" if slider.unit[:1].isalpha() else slider.unit
    limits = f'min="{slider.low:g}" max="{slider.high:g}" step="{slider.step:g}"'
    favourite = f"""
          <button type="button" class="star" aria-pressed="false" title="Favourite" aria-label="{label}, favourite">
            {ICONS["icon_star"]}</button>"""
    return f"""
        <div class="row" data-name="{name}" data-home="{home:g}" data-unit="{escape(unit)}">{favourite if star else ""}
          <label for="{name}" title="{label}">{label}</label>
          <input type="range" id="{name}" {limits} value="{home:g}">
          <input type="text" inputmode="decimal" aria-label="{label}, value">
          <button type="button" class="home" title="Back to {home:g}" aria-label="Reset {label}">
            {ICONS["icon_reset"]}</button>
        </div>"""


def _method(method: Method, chosen: bool) -> str:
    name, checked = escape(method.name), "checked" if chosen else ""
    return (
        f'<label title="{escape(method.paper)}"><input type="radio" name="method" value="{name}" {checked}>'
        f"{escape(method.label)}</label>"
    )


def _lesson(method: Method) -> str:
    """What a slow method has to say; the script fills it in."""
    return f"""
          <div class="lesson" data-lesson="{escape(method.name)}" data-label="{escape(method.label)}" hidden>
            <p></p><i><b></b></i><button type="button">Start</button>
          </div>"""


def _tile(method: Method) -> str:
    name, label = escape(method.name), escape(method.label)
    caption = f'<button type="button" aria-pressed="false" title="{escape(method.paper)}">{label}</button>'
    return f"""
          <figure class="tile" data-tile="{name}">
            <canvas role="img" aria-label="{label}"></canvas>{_lesson(method)}
            <figcaption>{caption if name else f"<span>{label}</span>"}</figcaption>
          </figure>"""


def _side(method: Method) -> str:
    return f'<option value="{escape(method.name)}">{escape(method.label)}</option>'


def _example(index: int, name: str, path: Path) -> str:
    photo = images.read(path)
    height, width = photo.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 5, (width - side) // 2
    small = images.scale(photo[top : top + side, left : left + side], THUMBNAIL)
    data = base64.b64encode(images.encode(small, "JPEG", quality=80)).decode("ascii")
    return (
        f'<button type="button" data-example="{escape(name)}" aria-pressed="false" aria-label="Example {index + 1}">'
        f'<img src="data:image/jpeg;base64,{data}" alt=""></button>'
    )


def _welcome(sliders: list[Slider], examples: dict[str, Path]) -> dict[str, Any] | None:
    """What the page opens on: the largest example, a good way down the first slider (younger: cleaner than older)."""
    if not examples:
        return None
    largest = max(examples, key=lambda name: images.read(examples[name]).size)
    recipe = EditRecipe(((sliders[0].name, 0.6 * sliders[0].low),)) if sliders else EditRecipe()
    return {"example": largest, "recipe": json.loads(recipe.to_json())}
