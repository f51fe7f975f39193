"""Open pages and their photos, the one thread that does model work for all of them, and one for what takes minutes.

Every open page is a visit with an unguessable token; a photo is reached through its token and in no other way.
Photos live in memory only. They go when the page closes, when its owner says so, when nobody has touched them for a
while, or when newer ones need the room (least recently used first). The page keeps its token and can hand its photo in
again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import ParamSpec, TypeVar

from hfgi_app.models import Models
from hfgi_app.session import EditSession

PHOTOS = 32
"""Open photos at most."""
BYTES = 4 * 2**30
"""What all of them may weigh together."""
IDLE = 30 * 60.0
"""Seconds until an untouched photo is put away."""
SWEEP = 60.0
"""Seconds between two looks for such photos."""
PAGES = 10_000
"""Tokens remembered at most."""
POLITE = 1.0
"""Seconds that slow work stands back for quick work, at most, each time it may: it is to end one day too."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class Visit:
    """One open page.

    page     what Gradio calls it (its session hash)
    session  the open photo; None before the first one and after it was put away
    used     when the page last asked for something, in seconds of a monotonic clock
    newest   the highest sequence number asked for so far
    job      its newest piece of work, which newer work replaces while it still waits
    order    a new one with every photo the page asks for, and when it is put away: what arrives late is dropped
    """

    page: str
    session: EditSession | None = None
    used: float = field(default_factory=time.monotonic)
    newest: int = 0
    job: Future[bytes] | None = None
    order: object = field(default_factory=object)


class Visits:
    """All open pages, least recently used first. Safe to call from any thread."""

    def __init__(self, models: Models, *, photos: int = PHOTOS, size: int = BYTES, idle: float = IDLE) -> None:
        self.models = models
        self._photos, self._size, self._idle = photos, size, idle
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._tokens: dict[str, str] = {}
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="slow")
        self._quiet = Condition()
        self._quick = 0  # pieces of quick work that wait or run

    def session(self) -> EditSession:
        """An empty session on the shared models."""
        return EditSession(self.models)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do model work when its turn comes: in order, one piece at a time (torch keeps one set of threads warm)."""
        with self._quiet:
            self._quick += 1
        job = self._thread.submit(work, *args, **kwargs)
        job.add_done_callback(self._done)
        return job

    def submit_slow(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do work that takes minutes beside all other, one piece at a time; it should call `stand_back` often."""
        return self._slow.submit(work, *args, **kwargs)

    def stand_back(self) -> None:
        """Wait, in slow work, while somebody waits for a picture: a slider stays live."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._quick, POLITE)

    def _done(self, _job: object) -> None:
        with self._quiet:
            self._quick -= 1
            self._quiet.notify_all()

    def submit_newest(self, visit: Visit, work: Callable[[], bytes]) -> Future[bytes]:
        """Do model work for a page, and give up what it asked for before if that still waits: nobody would see it."""
        if visit.job is not None:
            visit.job.cancel()
        visit.job = self.submit(work)
        return visit.job

    def begin(self, page: str) -> str:
        """A new token for a page."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._visits[token] = Visit(page)
            self._tokens[page] = token
            if len(self._visits) > PAGES:
                _, oldest = self._visits.popitem(last=False)
                self._tokens.pop(oldest.page, None)
                self._close(oldest)
        return token

    def find(self, token: str) -> Visit | None:
        """The visit with this token, now the most recently used; None where there is none."""
        with self._lock:
            visit = self._visits.get(token)
            if visit is not None:
                visit.used = time.monotonic()
                self._visits.move_to_end(token)
            return visit

    def keep(self, visit: Visit, session: EditSession, order: object) -> bool:
        """Make an opened photo the page's own, unless the page has asked for another one or left since."""
        with self._lock:
            if visit.order is order:
                visit.session = session
            return visit.order is order

    def forget(self, token: str) -> None:
        """Put away the photo of a page; its token stays good for another."""
        with self._lock:
            if token in self._visits:
                self._close(self._visits[token])

    def leave(self, page: str) -> None:
        """Put away the photo of a page that was closed, or lost from sight."""
        self.forget(self._tokens.get(page, ""))

    def sweep(self) -> None:
        """Put away photos that nobody has touched for a while, and the oldest ones where there are too many.

        For the model thread, as weighing a session while it works is not safe.
        """
        with self._lock:
            opened = [(visit, visit.session) for visit in self._visits.values() if visit.session is not None]
            number, size = len(opened), sum(session.nbytes for _, session in opened)
            for visit, session in opened:
                crowded = number > self._photos or (size > self._size and number > 1)
                if crowded or time.monotonic() - visit.used > self._idle:
                    number, size = number - 1, size - session.nbytes
                    self._close(visit)

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[None]:
        """Sweep now and then while a server runs, and stop working when it stops."""

        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP)
                self.submit(self.sweep)

        sweeping = asyncio.create_task(sweep())
        yield
        sweeping.cancel()
        for thread in (self._thread, self._slow):
            thread.shutdown(wait=False, cancel_futures=True)

    def _close(self, visit: Visit) -> None:
        if visit.session is not None:
            self.submit(visit.session.close)
        visit.session, visit.order = None, object()
