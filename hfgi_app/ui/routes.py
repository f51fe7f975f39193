"""The page's private routes: photos go in as bytes and come out as bytes, in memory all the way.

    POST studio/open      a photo, or ?example=NAME, or ?kept for the photo that is open; ?face=N -> lines of JSON: what
                          is being done, and at last the photo, or a message
    POST studio/frame     {sequence, recipe} -> JPEG of the edited face square alone, for live frames
    POST studio/picture   {sequence, recipe} -> JPEG of the whole photo, no larger than a screen
    POST studio/export    {recipe} -> PNG of the whole photo at its own size, recipe inside
    POST studio/close     the token -> the photo is put away

All but `close` carry the token as X-Visit. 204: overtaken by a newer request. 410: put away, hand the photo in again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from hfgi_app import images
from hfgi_app.errors import HfgiError, PhotoError, RecipeError
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe, Photo
from hfgi_app.ui.visits import Visit, Visits

SCREEN = 1600
"""Longest side in pixels of a picture sent to the page."""
FRAME_QUALITY, PICTURE_QUALITY = 85, 92
RECIPE_BYTES = 64 * 2**10

_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_TOO_LARGE = f"The photo is larger than {images.MAX_BYTES >> 20} MB; save a smaller copy of it."
_NO_RECIPE = "The page sent something that is no recipe; reload it."
_SORRY = "Something went wrong in the studio; try again, or open another photo."

log = logging.getLogger(__name__)
Endpoint = Callable[["Routes", Request], Awaitable[Response]]
Tell = Callable[[dict[str, Any]], None]


class _Gone(Exception):
    """The page has no open photo."""


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn whatever goes wrong into one sentence and a status."""

    @wraps(endpoint)
    async def answer(self: Routes, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except _Gone:
            return JSONResponse({"message": "The photo was put away; open it again."}, 410)
        except HfgiError as error:
            return JSONResponse({"message": str(error)}, 422)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            log.exception("%s failed", request.url.path)
            return JSONResponse({"message": _SORRY}, 500)

    return answer


class Routes:
    """The routes of one server. examples: name -> file."""

    def __init__(self, visits: Visits, examples: dict[str, Path]) -> None:
        self._visits = visits
        self._examples = examples

    def table(self) -> list[BaseRoute]:
        """What the server takes."""
        endpoints = (self.open, self.frame, self.picture, self.export, self.close)
        return [Route(f"/studio/{each.__name__}", each, methods=["POST"]) for each in endpoints]

    @_answering
    async def open(self, request: Request) -> Response:
        """Open a photo and tell about it line by line."""
        visit = self._visit(request)
        data = await _body(request, images.MAX_BYTES, _TOO_LARGE)
        query = request.query_params
        face = int(query["face"]) if query.get("face", "").isdecimal() else None
        if "example" in query and query["example"] not in self._examples:
            raise PhotoError("There is no such example; reload the page.")
        source = self._examples[query["example"]] if "example" in query else data
        kept = _session(visit).photo if "kept" in query else None
        visit.order = order = object()

        def work(tell: Tell) -> None:
            self._open(visit, order, images.read(source) if kept is None else kept, face, tell)

        return StreamingResponse(_lines(work), media_type="application/x-ndjson", headers=_NO_STORE)

    @_answering
    async def frame(self, request: Request) -> Response:
        """One live frame."""
        return await self._newest(request, lambda session, recipe: session.preview(recipe), FRAME_QUALITY)

    @_answering
    async def picture(self, request: Request) -> Response:
        """The whole photo for the page."""
        return await self._newest(request, lambda session, recipe: _fit(session.render(recipe)), PICTURE_QUALITY)

    @_answering
    async def export(self, request: Request) -> Response:
        """The whole photo to keep."""
        visit = self._visit(request)
        recipe, _ = await _asked(request)
        photo = await asyncio.wrap_future(self._visits.submit(_session(visit).render, recipe))
        data = await asyncio.to_thread(images.encode, photo, "PNG", recipe_json=recipe.to_json())
        return Response(data, media_type="image/png", headers=_NO_STORE)

    @_answering
    async def close(self, request: Request) -> Response:
        """Put the photo away. The token is the body: a page that is closing can send no headers."""
        self._visits.forget((await _body(request, 256, _NO_RECIPE)).decode("ascii", "replace"))
        return Response(status_code=204)

    def _visit(self, request: Request) -> Visit:
        visit = self._visits.find(request.headers.get("X-Visit", ""))
        if visit is None:
            raise HfgiError("This page is older than the studio; reload it.")
        return visit

    def _open(self, visit: Visit, order: object, photo: Photo, face: int | None, tell: Tell) -> None:
        session = visit.session or self._visits.session()

        def progress(ratio: float, doing: str) -> None:
            tell({"ratio": ratio, "doing": doing})

        def work() -> dict[str, Any]:
            if visit.order is order:
                session.open(photo, face_index=face, progress=progress)
            if not self._visits.keep(visit, session, order):
                raise PhotoError("Another photo was opened instead.")
            self._visits.sweep()
            return _describe(session)

        tell({"photo": self._visits.submit(work).result()})

    async def _newest(
        self, request: Request, make: Callable[[EditSession, EditRecipe], Photo], quality: int
    ) -> Response:
        visit = self._visit(request)
        recipe, sequence = await _asked(request)
        session = _session(visit)
        if sequence < visit.newest:
            return Response(status_code=204)
        visit.newest = sequence
        spent = 0.0

        def work() -> bytes:
            nonlocal spent
            started = time.perf_counter()
            data = images.encode(make(session, recipe), "JPEG", quality=quality)
            spent = time.perf_counter() - started
            return data

        job = asyncio.wrap_future(self._visits.submit_newest(visit, work))
        await asyncio.wait([job])
        if job.cancelled():
            return Response(status_code=204)
        timing = {"Server-Timing": f"work;dur={1000 * spent:.1f}"}
        return Response(job.result(), media_type="image/jpeg", headers=_NO_STORE | timing)


async def _lines(work: Callable[[Tell], None]) -> AsyncIterator[str]:
    """Run `work` beside the event loop and hand on, line by line, what it tells; a failure is the last line."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def tell(line: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    def run() -> None:
        try:
            work(tell)
        except HfgiError as error:
            tell({"message": str(error)})
        except Exception:
            log.exception("opening a photo failed")
            tell({"message": _SORRY})
        tell(None)

    running = asyncio.create_task(asyncio.to_thread(run))
    while (line := await lines.get()) is not None:
        yield json.dumps(line) + "\n"
    await running


async def _body(request: Request, limit: int, refusal: str) -> bytes:
    """The body of a request, refused as soon as it is longer than `limit` bytes."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise HfgiError(refusal)
    return bytes(data)


async def _asked(request: Request) -> tuple[EditRecipe, int]:
    """The recipe and the sequence number in a request."""
    try:
        fields = json.loads(await _body(request, RECIPE_BYTES, _NO_RECIPE))
        return EditRecipe.from_json(json.dumps(fields["recipe"])), int(fields.get("sequence", 0))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RecipeError(_NO_RECIPE) from None


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
