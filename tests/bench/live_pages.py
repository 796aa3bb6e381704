"""A browser's side of a live page, without a browser: opens a page over its websocket and has its script run again.

What it speaks is Streamlit's own protocol: fragments that refresh are asked to as a browser does. What is drawn is read
and thrown away.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

SECONDS = 60.0
FRAGMENT = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY


class LivePage:
    """One browser tab on one page of a console, open for as long as the block lasts.

    Args:
        port: of the console, on 127.0.0.1.
        path: the page's path in its address, "" for the overview.
        query: the address' query, as in "order=PO-1".
        refreshes: whether parts of the page run by themselves, as they do in a browser.
    """

    def __init__(self, port: int, path: str = "", query: str = "", *, refreshes: bool = False) -> None:
        self._port, self._path, self._query, self._refreshes = port, path, query, refreshes
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._page_hash = ""
        self._finished = asyncio.Event()
        self.runs = self.refreshed = 0
        self.elements = 0
        """How many changes to what is drawn have come."""
        self.failures: list[str] = []
        """The exceptions that a page showed."""

    async def __aenter__(self) -> Self:
        address = f"ws://127.0.0.1:{self._port}/_stcore/stream"
        origin: Any = f"http://127.0.0.1:{self._port}"
        self._socket = await connect(address, subprotocols=["streamlit"], origin=origin, max_size=None)  # type: ignore[list-item]  # a str, by another name
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.run()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (*self._timers.values(), self._reader):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._socket is not None:
            await self._socket.close()

    async def run(self) -> None:
        """Have the whole page's script run, and wait until it has."""
        self._finished.clear()
        await self._ask()
        async with asyncio.timeout(SECONDS):
            await self._finished.wait()

    async def _ask(self, fragment: str = "") -> None:
        assert self._socket is not None
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string = self._query
        if self._page_hash:
            state.page_script_hash = self._page_hash
        else:
            state.page_name = self._path
        if fragment:
            state.fragment_id, state.is_auto_rerun = fragment, True
        await self._socket.send(asked.SerializeToString())

    async def _refresh(self, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._ask(fragment)

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            message = ForwardMsg.FromString(data if isinstance(data, bytes) else data.encode())
            match message.WhichOneof("type"):
                case "new_session":
                    self._page_hash = message.new_session.page_script_hash
                case "navigation":
                    self._page_hash = message.navigation.page_script_hash
                case "delta":
                    self.elements += 1
                    if message.delta.new_element.WhichOneof("type") == "exception":
                        self.failures.append(message.delta.new_element.exception.message)
                case "auto_rerun" if self._refreshes:
                    fragment = message.auto_rerun.fragment_id
                    if (earlier := self._timers.pop(fragment, None)) is not None:
                        earlier.cancel()
                    self._timers[fragment] = asyncio.create_task(self._refresh(fragment, message.auto_rerun.interval))
                case "script_finished" if message.script_finished == FRAGMENT:
                    self.refreshed += 1
                case "script_finished":
                    self.runs += 1
                    self._finished.set()
                case _:
                    pass
