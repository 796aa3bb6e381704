"""A provider that costs next to nothing: a process of its own, which answers each call 20 ms after it came.

    python tests/bench/stub_provider.py PORT

It knows every order `BLK-<number>`, open for ever, takes every order it is sent, and says when it listens.
"""

import asyncio
import json
import sys

DELAY = 0.02
TOKEN = b'{"value": "made-up", "ExpiresIn": 86400}'


def order_id(number: int) -> str:
    """The id of the order with this number."""
    return f"BLK-{number:06d}"


def po_number(number: int) -> str:
    """The PONumber of the order with this number."""
    return f"BENCH-{number:06d}"


def open_order(number: int) -> dict[str, object]:
    """An order as it is shown; without the time of its creation, so that no list page can answer for it."""
    return _shown(order_id(number), po_number(number), [{"ProductId": "CVS", "Value": 10, "Quantity": 1}])


def _shown(provider_id: str, po: object, lines: list[dict[str, object]]) -> dict[str, object]:
    items = [
        {"Id": f"{provider_id}-{n}", "Status": "Pending", "ClaimData": None} | line for n, line in enumerate(lines)
    ]
    return {"Id": provider_id, "Status": "Pending", "Type": "Links", "PONumber": po, "LineItems": items}


class Stub(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport
    placed = 0

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what answers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each whole request, in time."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            named = head.lower().partition(b"content-length:")[2]
            length = int(named.partition(b"\r\n")[0] or b"0")
            if len(self._received) < end + 4 + length:
                return
            body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
            asyncio.get_running_loop().call_later(DELAY, self._answer, head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if not self.transport.is_closing():
            answer = _answered(head, body)
            top = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            self.transport.write(top + answer)


def _answered(head: bytes, body: bytes) -> bytes:
    method, path, _ = head.split(b" ", 2)
    if path.startswith(b"/v1/Tokens"):
        return TOKEN
    if method == b"POST":
        Stub.placed += 1
        asked = json.loads(body)
        return json.dumps(_shown(order_id(500_000 + Stub.placed), asked["PONumber"], asked["LineItems"])).encode()
    _, found, number = path.partition(b"/v1/Orders/BLK-")
    return json.dumps(open_order(int(number))).encode() if found else b"[]"


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    print("listens", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
