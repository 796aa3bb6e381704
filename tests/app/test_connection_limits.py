import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest
from http_server import serving
from starlette.types import Receive, Scope, Send

from tracking.app.web import connection_limits
from tracking.app.web.connection_limits import MAX_HEAD_BYTES, RepeatFilter

SECONDS = 10  # nothing here takes as long
GET = b"GET / HTTP/1.1\r\nHost: console\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: console\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes of the body, and takes its time on /slow."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port() -> Iterator[int]:
    with serving(echo) as found:
        yield found


def connect(port: int, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), SECONDS)
    with contextlib.suppress(OSError):  # it may close before the last part
        for part in parts:
            connection.sendall(part)
    return connection


def answer(connection: socket.socket) -> bytes:
    """Everything until it is closed."""
    said = b""
    with contextlib.suppress(ConnectionError), connection:
        while part := connection.recv(65536):
            said += part
    return said


def status(connection: socket.socket) -> bytes:
    return connection.recv(65536).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "parts",
    [
        (GET[:-2], *[b"X-Small: y\r\n" * 600] * 20),
        (GET[:-2] + b"X-Large: ", *[b"y" * 8192] * 20),
        (b"GET /", *[b"y" * 8192] * 20),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", *[b"y" * 8192] * 20),
    ],
    ids=["endless headers", "an endless header", "an endless target", "an endless chunk extension"],
)
def test_a_head_without_measure_is_refused_while_it_comes(port: int, parts: tuple[bytes, ...]) -> None:
    said = answer(connect(port, *parts))
    assert said.startswith(b"HTTP/1.1 400 ") or said == b""  # a reset may overtake the answer
    with connect(port, GET) as another:
        assert status(another) == b"HTTP/1.1 200 OK"


def test_a_large_body_is_no_head(port: int) -> None:
    head = POST + b"Connection: close\r\nContent-Length: 1000000\r\n\r\n"
    assert answer(connect(port, head, b"y" * 1_000_000)).endswith(b"1000000")


def test_many_requests_on_one_connection_are_no_large_head(port: int) -> None:
    connection = connect(port)
    for _ in range(3):
        connection.sendall(GET[:-2] + b"X-Large: " + b"y" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n")
        assert status(connection) == b"HTTP/1.1 200 OK"
    connection.close()


@pytest.mark.parametrize(
    "part",
    [b"", b"GET / HT", GET + GET[:9]],
    ids=["nothing", "half a head", "half a head after a whole request"],
)
def test_a_head_that_does_not_arrive_whole_in_time_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.05)
    with serving(echo) as port:
        assert answer(connect(port, part)).count(b"HTTP/1.1") == part.count(GET)


def test_an_answer_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.05)
    with serving(echo) as port, connect(port, GET.replace(b"/", b"/slow", 1)) as connection:
        assert status(connection) == b"HTTP/1.1 200 OK"


def test_where_there_is_no_place_one_that_is_answered_does_not_give_way(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setattr(connection_limits, "MAX_CONNECTIONS", 2)
    answered, waiting = connect(port, POST + b"Content-Length: 2\r\n\r\n1"), connect(port, GET)
    assert status(waiting) == b"HTTP/1.1 200 OK"
    with connect(port, GET) as newcomer:
        assert status(newcomer) == b"HTTP/1.1 200 OK"
        assert answer(waiting) == b""
        answered.sendall(b"2")
        assert status(answered) == b"HTTP/1.1 200 OK"
        answered.close()


def test_where_there_is_no_place_the_one_waited_for_longest_gives_way(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setattr(connection_limits, "MAX_CONNECTIONS", 3)
    first, second, third = (connect(port, b"GET / HT") for _ in range(3))
    newcomer = connect(port, GET)
    assert status(newcomer) == b"HTTP/1.1 200 OK"
    assert answer(first) == b""
    for kept in (second, third):
        kept.sendall(GET[8:])
        assert status(kept) == b"HTTP/1.1 200 OK"
    for connection in (second, third, newcomer):
        connection.close()


def test_a_body_that_breaks_ends_the_request_without_a_stack_trace(port: int, caplog: pytest.LogCaptureFixture) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for parts in ((head + b"ZZZ\r\n",), (head, b"ZZZ\r\n")):
        assert answer(connect(port, *parts)).startswith(b"HTTP/1.1 400 ")
    assert [record.message for record in caplog.records if record.exc_info] == []


def test_a_server_says_the_same_thing_once_in_a_while() -> None:
    repeats = RepeatFilter()

    def passes(text: str, error: Exception | None = None) -> bool:
        information = None if error is None else (type(error), error, None)
        return repeats.filter(logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, text, None, information))

    assert [passes(text) for text in ("broken", "broken", "another", "broken")] == [True, False, True, False]
    assert [passes("broken", error) for error in (OSError("1"), OSError("2"), ValueError())] == [True, False, True]
