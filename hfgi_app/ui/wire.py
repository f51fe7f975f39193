"""How the page's requests are read, and how it is told line by line what takes a while."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hfgi_app import images
from hfgi_app.errors import HfgiError, RecipeError
from hfgi_app.types import EditRecipe

RECIPE_BYTES = 64 * 2**10
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
NO_RECIPE = "The page sent something that is no recipe; reload it."
SORRY = "Something went wrong in the studio; try again, or open another photo."

log = logging.getLogger(__name__)
Tell = Callable[[dict[str, Any]], None]


async def body(request: Request, limit: int, refusal: str) -> bytes:
    """The body of a request, refused as soon as it is longer than `limit` bytes."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise HfgiError(refusal)
    return bytes(data)


async def fields(request: Request) -> Mapping[str, Any]:
    """The JSON object in a request."""
    try:
        found = json.loads(await body(request, RECIPE_BYTES, NO_RECIPE))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RecipeError(NO_RECIPE)
    return found


async def asked(request: Request) -> tuple[EditRecipe, int]:
    """The recipe and the sequence number in a request."""
    found = await fields(request)
    try:
        return EditRecipe.from_json(json.dumps(found["recipe"])), int(found.get("sequence", 0))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RecipeError(NO_RECIPE) from None


def recipe_in(data: bytes) -> EditRecipe:
    """The recipe in a picture that this program made, or in JSON. Raises RecipeError where there is none."""
    text = data.decode("utf-8", "replace") if data.lstrip().startswith(b"{") else images.read_recipe(data)
    if text is None:
        raise RecipeError("That file carries no recipe; only pictures exported by this program do.")
    return EditRecipe.from_json(text)


def telling(work: Callable[[Tell], Awaitable[dict[str, Any]]]) -> Response:
    """An answer line by line: what `work` tells meanwhile, what it gives, or why it could not. It may tell from any
    thread, and is cancelled when nobody reads any more."""

    async def lines() -> AsyncIterator[str]:
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

        def tell(line: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(waiting.put_nowait, line)

        async def run() -> None:
            try:
                waiting.put_nowait(await work(tell))
            except HfgiError as error:
                waiting.put_nowait({"message": str(error)})
            except Exception:
                log.exception("work on a photo failed")
                waiting.put_nowait({"message": SORRY})
            waiting.put_nowait(None)

        running = asyncio.create_task(run())
        try:
            while (line := await waiting.get()) is not None:
                yield json.dumps(line) + "\n"
        finally:
            running.cancel()

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=NO_STORE)
