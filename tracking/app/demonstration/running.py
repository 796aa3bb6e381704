"""Runs the demonstration of a console on the embedded sandbox: writes the week before, then makes traffic."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from tracking.errors import StoreError
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database

if TYPE_CHECKING:
    from tracking.app.demonstration.history import History
    from tracking.sandbox.server import Sandbox

log = logging.getLogger(__name__)

STORE_RETRY = 1.0


class Demonstration:
    """Runs beside the loops of one process; `prepared` is set once the week before stands in the store.

    Nobody polls or sends until then, as what they would meet is still being written. `alive` is called meanwhile.
    """

    def __init__(
        self,
        database: Database,
        sandbox: Sandbox,
        *,
        receiver: ASGIApp,
        per_minute: float,
        address: Callable[[str], str | None],
        cipher: ClaimCipher,
        clock: Callable[[], datetime],
        alive: Callable[[], Awaitable[None]],
    ) -> None:
        self._database, self._sandbox, self._receiver = database, sandbox, receiver
        self._per_minute, self._address, self._cipher = per_minute, address, cipher
        self._clock, self._alive = clock, alive
        self._history: History | None = None
        self._more: bool | None = None  # whether there is more of the week to write; None before it was begun
        self.prepared = asyncio.Event()

    async def begin(self) -> None:
        """Write the first orders of the week, so that the first page finds some; what fails here is done later."""
        try:
            self._more = await asyncio.to_thread(self._begin)
        except StoreError as exc:
            log.warning("the week before waits for the store: %s", exc)
        except Exception:  # the console is of use without its past
            log.exception("the week before was not written")
            self._more = False

    async def run(self) -> None:
        """Prepare, then go on until cancelled."""
        from tracking.app.demonstration.traffic import Traffic  # noqa: PLC0415 - no start with a real provider waits for it

        try:
            await self._write_history()
        except Exception:  # as above
            log.exception("the week before was not written")
        finally:
            self.prepared.set()
        rng = random.Random()  # noqa: S311 - made-up orders guard nothing  # nosec B311
        traffic = Traffic(
            self._database, self._sandbox, self._receiver, per_minute=self._per_minute, clock=self._clock, rng=rng
        )
        await traffic.run()

    def _begin(self) -> bool:
        from tracking.app.demonstration.history import History  # noqa: PLC0415 - as above

        history = History(self._database, self._sandbox, address=self._address, cipher=self._cipher)
        self._history = history
        return history.begin(self._clock()) and history.write_group()

    async def _write_history(self) -> None:
        more = await self._in_thread(self._begin) if self._more is None else self._more
        while more and self._history is not None:
            more = await self._in_thread(self._history.write_group)
            await self._alive()

    async def _in_thread(self, step: Callable[[], bool]) -> bool:
        while True:
            try:
                return await asyncio.to_thread(step)
            except StoreError as exc:
                log.warning("the week before waits for the store: %s", exc)
                await asyncio.sleep(STORE_RETRY)
