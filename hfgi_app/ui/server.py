"""The studio on the web: the page, its private routes and the two public endpoints, launched with safe settings."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from hfgi_app import images
from hfgi_app.errors import HfgiError
from hfgi_app.models import Models
from hfgi_app.types import EditRecipe, Photo
from hfgi_app.ui import page
from hfgi_app.ui.routes import Routes
from hfgi_app.ui.visits import Visits

CLEAN = (15, 60)
"""The public endpoint's files are looked at every 15 seconds and deleted when they are a minute old."""
WAITING = 32
"""Calls of the public endpoint that may wait."""

# The token reaches the page through Gradio, which also tells when the page is gone.
_HAND_OVER = """(token) => {
  const studio = document.querySelector("#studio");
  studio.dataset.visit = token;
  studio.dispatchEvent(new Event("visit"));
}"""


def serve(
    models: Models,
    examples: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Launch the studio and, with `wait`, stay until it is stopped.

    examples    a folder; its *.jpg are offered on the page, and the page opens on the largest
    host, port  None: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, or 127.0.0.1 and the first free port from 7860
    share       a public link through Gradio's tunnel
    """
    gallery = {path.stem: path for path in sorted(examples.glob("*.jpg"))}
    visits = Visits(models)
    studio = build(models, gallery, visits)
    studio.queue(max_size=WAITING).launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=not wait,
        head=page.head(),
        app_kwargs={"routes": Routes(visits, gallery).table(), "lifespan": visits.lifespan},
        max_file_size=images.MAX_BYTES,
        allowed_paths=[],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        strict_cors=True,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
    )
    return studio


def build(models: Models, examples: dict[str, Path], visits: Visits) -> gr.Blocks:
    """The page and the public endpoints `/edit` and `/sliders`; the page itself talks to `Routes`."""

    def begin(request: gr.Request) -> str:
        return visits.begin(request.session_hash or "")

    def leave(request: gr.Request) -> None:
        visits.leave(request.session_hash or "")

    def edit(photo: bytes | None, recipe: str) -> str:
        """Edit the largest face in a photo by a recipe (JSON text) and return the whole photo as PNG."""
        try:
            asked = EditRecipe.from_json(recipe)
            edited = _edit(visits, photo, asked)
            # A folder inside Gradio's own cache: from there it serves the file as it is, and `CLEAN` deletes it.
            path = Path(tempfile.mkdtemp(dir=picture.GRADIO_CACHE)) / "edited.png"
            images.write(path, edited, asked.to_json())
        except HfgiError as error:
            raise gr.Error(str(error)) from None
        return str(path)

    def sliders() -> list[dict[str, Any]]:
        """All sliders: name ("family/name"), label, low, high, step, unit, family."""
        return [asdict(slider) for slider in models.sliders()]

    studio = gr.Blocks(title="HFGI Studio", analytics_enabled=False, fill_width=True, delete_cache=CLEAN)
    with studio:
        gr.HTML(
            page.body(models, examples),
            js_on_load=page.script(models, examples),
            apply_default_css=False,
            padding=False,
        )
        token = gr.Textbox(visible="hidden")
        studio.load(begin, outputs=token, api_visibility="private", queue=False).then(
            None, token, js=_HAND_OVER, api_visibility="private"
        )
        studio.unload(leave)
        with gr.Row(visible=False):
            photo, recipe = gr.File(type="binary", label="photo"), gr.Textbox("{}", label="recipe")
            picture, listing = gr.Image(type="filepath", format="png", label="picture"), gr.JSON(label="sliders")
            gr.Button().click(edit, [photo, recipe], picture, api_name="edit")
            gr.Button().click(sliders, None, listing, api_name="sliders")
    return studio


def _edit(visits: Visits, photo: bytes | None, recipe: EditRecipe) -> Photo:
    """The largest face in a photo, edited; a slow method learns the photo beside what others ask for."""
    session, upright = visits.session(), images.read(photo or b"")
    try:
        visits.submit(session.open, upright).result()
        if visits.submit(session.estimate, recipe.method).result():
            visits.submit_slow(session.prepare, recipe.method, lambda *_: visits.stand_back()).result()
        return visits.submit(session.render, recipe).result()
    finally:
        visits.submit(session.close)
