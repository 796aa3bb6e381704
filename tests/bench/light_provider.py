"""A provider that costs next to nothing: it takes every order, and whoever asks for one is shown it completed.

    python tests/bench/light_provider.py PORT MILLISECONDS

For measurements in which the simulated provider would be what is measured. Each answer takes so many milliseconds. Ends
when whoever started it has ended. An order's creation time is not told: who
does not know it has no use for list pages, and asks for each order by itself.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parents[1])]

from fakes import order_json  # noqa: E402 - found through the line above

TOKEN = {"Value": "a-token", "ExpiresIn": 3600}
BALANCE = {"Available": 1_000_000, "Pending": 0}


class Orders:
    """What was placed, by the provider's ids and by PONumbers; each order as the bytes of its answers."""

    def __init__(self) -> None:
        self._completed: dict[str, bytes] = {}
        self._ids: dict[str, str] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and the JSON of the answer to one call."""
        place, _, _ = path.partition("?")
        if place == "/v1/Tokens":
            return 200, _json(TOKEN)
        if place == "/v1/AccountBalance":
            return 200, _json(BALANCE)
        if place == "/v1/Orders":
            return self._place(json.loads(body)) if method == "POST" else (200, b"[]")
        if shown := self._completed.get(place.removeprefix("/v1/Orders/")):
            return 200, shown
        return (404, b'{"Message": "unknown"}') if place.startswith("/v1/Orders/") else (200, b"[]")

    def _place(self, document: dict[str, Any]) -> tuple[int, bytes]:
        po_number = document["PONumber"]
        if (taken := self._ids.get(po_number)) is not None:
            return 409, _json({"PreviousOrderIds": [taken]})
        provider_id = self._ids[po_number] = f"LIGHT-{len(self._ids) + 1}"
        pending, completed = (
            order_json(provider_id, po_number, status, *document["LineItems"], kind=document["Type"])
            for status in ("Pending", "Completed")
        )
        for shown in (pending, completed):
            del shown["Timestamp"]
        self._completed[provider_id] = _json(completed)
        return 201, _json(pending)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


class Connection(asyncio.Protocol):
    """One connection: a call, its answer after a while, the next call."""

    def __init__(self, orders: Orders, seconds: float) -> None:
        self._orders, self._seconds = orders, seconds
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remembers where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each call that is complete."""
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, rest = self._read.partition(b"\r\n\r\n")
            method, path, _ = head.partition(b"\r\n")[0].decode().split(" ")
            length = _content_length(head)
            if len(rest) < length:
                return
            self._read = rest[length:]
            status, answer = self._orders.answer(method, path, rest[:length])
            shown = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            asyncio.get_running_loop().call_later(self._seconds, self._answer, shown.encode() + answer)

    def _answer(self, shown: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(shown)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, seconds: float) -> None:
    """Serves as long as the process lives that started this one."""
    orders, started_by = Orders(), os.getppid()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(orders, seconds), "127.0.0.1", port)
    async with server:
        while os.getppid() == started_by:  # noqa: ASYNC110 - nothing tells of that
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
