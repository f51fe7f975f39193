"""The page's private routes: photos go in as bytes and come out as bytes, in memory all the way.

    POST studio/open      a photo, or ?example=NAME, or ?kept for the photo that is open; ?face=N -> lines of JSON: what
                          is being done, and at last the photo, or a message
    POST studio/frame     {sequence, recipe} -> JPEG of the edited face square alone, for live frames
    POST studio/picture   {sequence, recipe} -> JPEG of the whole photo, no larger than a screen
    POST studio/tile      {recipe} -> PNG of the edited face square, to compare pixel for pixel
    POST studio/export    {recipe} -> PNG of the whole photo at its own size, recipe inside
    POST studio/recipe    an edited picture, or JSON -> the recipe in it
    POST studio/typed     {neutral, target, beta} -> the typed prompt as a slider for the photo
    POST studio/changes   {recipe} -> what the edit changed, as the text model sees it
    POST studio/learn     {method} -> lines of JSON: how far a slow method is with the photo, and at last that it is
                          ready, or a message; who stops reading calls it off
    POST studio/close     the token -> the photo is put away

All but `close` carry the token as X-Visit. 202: the recipe's method has to learn the photo first, and how many seconds
that takes. 204: overtaken by a newer request. 410: put away, hand the photo in again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hfgi_app import images
from hfgi_app.errors import HfgiError, PhotoError
from hfgi_app.prompts import Prompt
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Photo
from hfgi_app.ui.visits import Visit, Visits
from hfgi_app.ui.wire import NO_RECIPE, NO_STORE, SORRY, Tell, asked, body, fields, recipe_in, telling

SCREEN = 1600
"""Longest side in pixels of a picture sent to the page."""
FRAME_QUALITY, PICTURE_QUALITY = 85, 92

_TOO_LARGE = f"The photo is larger than {images.MAX_BYTES >> 20} MB; save a smaller copy of it."

T = TypeVar("T")
log = logging.getLogger(__name__)
Endpoint = Callable[["Routes", Request], Awaitable[Response]]


class _Gone(Exception):
    """The page has no open photo."""


class _Unready(Exception):
    """A method has to learn the photo first: so many seconds."""

    def __init__(self, method: str, seconds: float) -> None:
        self.fields = {"method": method, "seconds": seconds}


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn whatever goes wrong into one sentence and a status."""

    @wraps(endpoint)
    async def answer(self: Routes, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except _Gone:
            return JSONResponse({"message": "The photo was put away; open it again."}, 410)
        except _Unready as unready:
            return JSONResponse(unready.fields, 202)
        except HfgiError as error:
            return JSONResponse({"message": str(error)}, 422)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            log.exception("%s failed", request.url.path)
            return JSONResponse({"message": SORRY}, 500)

    return answer


class Routes:
    """The routes of one server. examples: name -> file."""

    def __init__(self, visits: Visits, examples: dict[str, Path]) -> None:
        self._visits = visits
        self._examples = examples

    def table(self) -> list[BaseRoute]:
        """What the server takes."""
        pictures, words = (self.frame, self.picture, self.tile, self.export), (self.recipe, self.typed, self.changes)
        endpoints = (self.open, *pictures, *words, self.learn, self.close)
        return [Route(f"/studio/{each.__name__}", each, methods=["POST"]) for each in endpoints]

    @_answering
    async def open(self, request: Request) -> Response:
        """Open a photo and tell about it line by line."""
        visit = self._visit(request)
        data = await body(request, images.MAX_BYTES, _TOO_LARGE)
        query = request.query_params
        face = int(query["face"]) if query.get("face", "").isdecimal() else None
        if "example" in query and query["example"] not in self._examples:
            raise PhotoError("There is no such example; reload the page.")
        source = self._examples[query["example"]] if "example" in query else data
        kept = _session(visit).photo if "kept" in query else None
        visit.order = order = object()

        async def work(tell: Tell) -> dict[str, Any]:
            photo = await asyncio.to_thread(images.read, source) if kept is None else kept
            opening = self._visits.submit(self._open, visit, order, photo, face, tell)
            return {"photo": await asyncio.wrap_future(opening)}

        return telling(work)

    @_answering
    async def frame(self, request: Request) -> Response:
        """One live frame."""
        return await self._newest(request, lambda session, recipe: session.preview(recipe), FRAME_QUALITY)

    @_answering
    async def picture(self, request: Request) -> Response:
        """The whole photo for the page."""
        return await self._newest(request, lambda session, recipe: _fit(session.render(recipe)), PICTURE_QUALITY)

    @_answering
    async def tile(self, request: Request) -> Response:
        """One method's picture, to be held against another's."""
        return await _png(await self._made(request, lambda session, recipe: session.preview(recipe)))

    @_answering
    async def export(self, request: Request) -> Response:
        """The whole photo to keep."""
        made = await self._made(request, lambda session, recipe: (session.render(recipe), recipe.to_json()))
        return await _png(*made)

    @_answering
    async def recipe(self, request: Request) -> Response:
        """The recipe that a file carries, to use on another photo."""
        self._visit(request)
        data = await body(request, images.MAX_BYTES, _TOO_LARGE)
        found = await asyncio.to_thread(recipe_in, data)
        return Response(found.to_json(), media_type="application/json", headers=NO_STORE)

    @_answering
    async def typed(self, request: Request) -> Response:
        """A typed prompt as a slider: its range is measured on the photo."""
        visit = self._visit(request)
        found = await fields(request)
        prompt = Prompt(str(found.get("neutral", "")), str(found.get("target", "")), beta=found.get("beta"))
        typed = await asyncio.wrap_future(self._visits.submit(_session(visit).typed, prompt))
        return JSONResponse(asdict(typed), headers=NO_STORE)

    @_answering
    async def changes(self, request: Request) -> Response:
        """What an edit changed: what was asked, and what else."""
        changes = await self._made(request, lambda session, recipe: session.changes(recipe))
        return JSONResponse([asdict(change) for change in changes], headers=NO_STORE)

    @_answering
    async def learn(self, request: Request) -> Response:
        """Let a slow method learn the open photo, beside all other work."""
        visit = self._visit(request)
        session, order = _session(visit), visit.order
        method = str((await fields(request)).get("method"))
        left = Event()

        async def work(tell: Tell) -> dict[str, Any]:
            def progress(ratio: float, doing: str) -> None:
                if left.is_set() or visit.order is not order:
                    raise PhotoError("It was called off.")
                tell({"ratio": ratio, "doing": doing})
                self._visits.stand_back()

            try:
                await asyncio.wrap_future(self._visits.submit_slow(session.prepare, method, progress))
            finally:
                left.set()
            return {"ready": True}

        return telling(work)

    @_answering
    async def close(self, request: Request) -> Response:
        """Put the photo away. The token is the body: a page that is closing can send no headers."""
        self._visits.forget((await body(request, 256, NO_RECIPE)).decode("ascii", "replace"))
        return Response(status_code=204)

    def _visit(self, request: Request) -> Visit:
        visit = self._visits.find(request.headers.get("X-Visit", ""))
        if visit is None:
            raise HfgiError("This page is older than the studio; reload it.")
        return visit

    def _open(self, visit: Visit, order: object, photo: Photo, face: int | None, tell: Tell) -> dict[str, Any]:
        session = visit.session or self._visits.session()

        def progress(ratio: float, doing: str) -> None:
            tell({"ratio": ratio, "doing": doing})

        if visit.order is order:
            session.open(photo, face_index=face, progress=progress)
        if not self._visits.keep(visit, session, order):
            raise PhotoError("Another photo was opened instead.")
        self._visits.sweep()
        return _describe(session)

    async def _made(self, request: Request, make: Callable[[EditSession, EditRecipe], T]) -> T:
        """What a page asks for once, made in its turn."""
        visit = self._visit(request)
        recipe, _ = await asked(request)
        return await asyncio.wrap_future(self._visits.submit(_make, _session(visit), recipe, make))

    async def _newest(
        self, request: Request, make: Callable[[EditSession, EditRecipe], Photo], quality: int
    ) -> Response:
        visit = self._visit(request)
        recipe, sequence = await asked(request)
        session = _session(visit)
        if sequence < visit.newest:
            return Response(status_code=204)
        visit.newest = sequence
        spent = 0.0

        def work() -> bytes:
            nonlocal spent
            started = time.perf_counter()
            data = images.encode(_make(session, recipe, make), "JPEG", quality=quality)
            spent = time.perf_counter() - started
            return data

        job = asyncio.wrap_future(self._visits.submit_newest(visit, work))
        await asyncio.wait([job])
        if job.cancelled():
            return Response(status_code=204)
        timing = {"Server-Timing": f"work;dur={1000 * spent:.1f}"}
        return Response(job.result(), media_type="image/jpeg", headers=NO_STORE | timing)


def _make(session: EditSession, recipe: EditRecipe, make: Callable[[EditSession, EditRecipe], T]) -> T:
    """What comes of a recipe, unless its method has to learn the photo first: then people are asked."""
    seconds = session.estimate(recipe.method)
    if seconds:
        raise _Unready(recipe.method, seconds)
    return make(session, recipe)


async def _png(photo: Photo, recipe_json: str | None = None) -> Response:
    data = await asyncio.to_thread(images.encode, photo, "PNG", recipe_json=recipe_json)
    return Response(data, media_type="image/png", headers=NO_STORE)


def _session(visit: Visit) -> EditSession:
    if visit.session is None:
        raise _Gone
    return visit.session


def _describe(session: EditSession) -> dict[str, Any]:
    """What the page draws by: the size, the face square as parts of it, the faces."""
    assert session.photo is not None  # just opened
    height, width = session.photo.shape[:2]
    quad = (session.quad / (width, height)).tolist()
    return {"width": width, "height": height, "quad": quad, "faces": session.faces, "face": session.face}


def _fit(photo: Photo) -> Photo:
    """The photo, no longer than a screen on either side."""
    picture = Image.fromarray(photo)
    picture.thumbnail((SCREEN, SCREEN), reducing_gap=2.0)
    return np.asarray(picture)
