"""Runs every request of the API: in a thread pool, within a time limit, and counts what each token was given."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from typing import Any, TypeVar

from starlette.responses import Response

from tracking.api.callers.limits import AWAITED_AT_MOST, THREADS
from tracking.api.callers.tokens import Caller
from tracking.api.callers.use import Use
from tracking.api.problems import Refusal
from tracking.storage.database import Database
from tracking.storage.reading.time_limits import ASKED_SECONDS, time_limit
from tracking.team import disclosures

T = TypeVar("T")
Counted = Callable[[Mapping[str, Any]], Mapping[str, int]]


class Service:
    """The store as the API reads it: a few reads at once, each of five seconds at the most.

    `secrets` are those of webhooks, `wake` is called after an act, so that it is done soon.
    """

    def __init__(
        self, database: Database, clock: Callable[[], datetime], secrets: Sequence[str], wake: Callable[[], None]
    ) -> None:
        self.database, self.clock, self.secrets, self.wake = database, clock, tuple(secrets), wake
        self.use = Use(database)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self._awaited = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread of the API's own. Raises Refusal where too much is waited for already."""
        if self._awaited >= AWAITED_AT_MOST:
            raise Refusal("busy", "Too many requests at once.", headers={"Retry-After": "1"})
        self._awaited += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        finally:
            self._awaited -= 1

    async def read(self, read: Callable[[], T]) -> T:
        """Read within the limit of time, without an answer yet."""

        def work() -> T:
            with time_limit(ASKED_SECONDS):
                return read()

        return await self.run(work)

    def record_search(self, caller: Caller, text: str, page: Mapping[str, Any]) -> None:
        """Record in the audit log that the caller searched for a text, as a keyed hash; `page` is what was found."""
        now = self.clock()
        if self.use.may_record_search(caller, now):
            more, secret = page["next_cursor"] is not None, self.secrets[0]
            hits = len(page["orders"])
            disclosures.record_search(self.database, text, hits, by=caller.person, now=now, secret=secret, more=more)

    async def counted(self, caller: Caller, read: Callable[[], tuple[T, Mapping[str, int]]]) -> T:
        """Read something, and count for the caller what the answer holds, before it is given."""

        def work() -> T:
            with time_limit(ASKED_SECONDS):
                answer, counted = read()
            self.use.count(caller, counted, self.clock())
            return answer

        return await self.run(work)

    async def answer(self, caller: Caller, read: Callable[[], Mapping[str, Any]], counted: Counted) -> Response:
        """Answer with what is read, once it is counted who reads it."""

        def work() -> tuple[bytes, Mapping[str, int]]:
            document = read()
            return json_bytes(document), counted(document)

        return json_response(await self.counted(caller, work))


def json_bytes(document: Any) -> bytes:
    """The document as JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def json_response(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The answer with this JSON."""
    return Response(content, status, headers, "application/json")
