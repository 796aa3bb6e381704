"""Generated hostile requests against the receiver and the routes beside it: what comes back, what is left behind.

    make hostile N=100000                (SEED=1 to repeat a run)

Most go through ASGI inside this process, the last ones as raw bytes over a socket. Nothing but one indistinguishable
refusal may come back, nothing but a bounded number of refused rows may stay, and the memory must not grow. Prints a
last line with the figures and exits 1 where that is not so.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE),) if path not in sys.path]

from fakes import Clock, callback_body, request, shown  # noqa: E402 - found through the line above
from http_server import serving  # noqa: E402 - the same

from tracking import ingest  # noqa: E402 - the same
from tracking.app.backend import Backend  # noqa: E402 - the same
from tracking.forecasting.planner import PlanningContext  # noqa: E402 - the same
from tracking.forecasting.waits import Policy  # noqa: E402 - the same
from tracking.settings.addresses import WEBHOOK_PATH  # noqa: E402 - the same
from tracking.settings.loading import load  # noqa: E402 - the same
from tracking.settings.roles import Role  # noqa: E402 - the same
from tracking.storage import database  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.tables import CALLBACKS, EVENTS, LINES, ORDERS, OUTBOX  # noqa: E402 - the same
from tracking.webhooks import addresses  # noqa: E402 - the same
from tracking.webhooks.refusals import REFUSALS_STORED_PER_SECOND  # noqa: E402 - the same

SECRETS = ("the-new-secret-of-ours", "an-old-secret-of-ours")
KNOWN = tuple(f"demo-{number:04d}" for number in range(1, 9))  # the later half is queued, not accepted yet
A_CALL = timedelta(milliseconds=1)
TOGETHER = 250  # calls that are at work at once
SHARE_OVER_A_SOCKET = 50  # one call in so many
MOST_PROBLEMS = 10
MOST_GROWTH = 24  # MB
WARM_UP = 0.2  # of the calls, before the memory is measured
REFUSAL = (404, ((b"content-length", b"0"),), b"")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW", "post")


@dataclass(frozen=True, slots=True)
class Call:
    """One hostile request."""

    method: str
    path: bytes
    body: tuple[bytes, ...]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    source: str = "192.0.2.1"


class Generator:
    """Makes hostile calls below /webhooks, one after the other, the same ones for the same seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def call(self) -> Call:
        """The next one. Whatever it is, it proves nothing."""
        rng = self._rng
        po_number = rng.choice(KNOWN)
        token = addresses.make_token(po_number, rng.choice(SECRETS))
        guessed = "".join(rng.choices(LETTERS, k=addresses.TOKEN_LENGTH))
        genuine = callback_body(po_number, None, f"{rng.randint(1, 12):02d}")
        match rng.randrange(6):
            case 0:
                nobodys = addresses.make_token(f"nobody-{rng.randint(1, 9)}", rng.choice(SECRETS))
                method, path, body = "POST", nobodys.encode(), self._broken(genuine, po_number)
            case 1:
                method, path, body = "POST", guessed.encode(), genuine
            case 2:
                method, path, body = "POST", self._near(token), genuine
            case 3:
                method, path, body = rng.choice(METHODS), token.encode(), genuine
            case 4:
                other = rng.choice([each for each in KNOWN if each != po_number])
                method, path, body = "POST", token.encode(), self._of_another(other)
            case _:
                path = rng.choice([b"", b"/", token.encode() + b"/", token.encode() + b"/x", b"../" + token.encode()])
                method, body = "POST", genuine
        return Call(method, WEBHOOK_PATH.encode() + path, self._parts(body), self._headers(), self._source())

    def _near(self, token: str) -> bytes:
        """Almost a right token."""
        rng = self._rng
        place = rng.randrange(len(token))
        other = rng.choice([letter for letter in LETTERS[:62] if letter != token[place]])
        return rng.choice(
            [
                (token[:place] + other + token[place + 1 :]).encode(),
                token[:-1].encode(),
                (token + "A").encode(),
                token.swapcase().encode(),
                token[:place].encode() + b"%00" + token[place:].encode(),
                token[:place].encode() + b"%c3%a9" + token[place + 1 :].encode(),
                token[:place].encode() + b"%ff" + token[place + 1 :].encode(),
                token[:place].encode() + b"%ed%a0%80" + token[place + 1 :].encode(),
                b"%2e%2e%2f" + token.encode(),
                "\uff21".encode() * addresses.TOKEN_LENGTH,
                b"",
            ]
        )

    def _of_another(self, po_number: str) -> bytes:
        """A body that names another order than the address."""
        rng = self._rng
        return rng.choice(
            [
                callback_body(po_number, None),
                callback_body(po_number, f"BLK-{rng.randint(1, 9)}"),
                callback_body(None, f"BLK-{rng.randint(100, 10**9)}"),
                callback_body(None, po_number),
                callback_body(po_number + " ", None).replace(b" ", b"\\u0000"),
            ]
        )

    def _broken(self, genuine: bytes, po_number: str) -> bytes:
        """What is no callback as documented, under an address that is no order's: under its own it would be taken."""
        rng = self._rng
        document = json.loads(genuine)
        place = rng.randrange(len(genuine))
        return rng.choice(
            [
                lambda: genuine[:place],
                lambda: genuine[:place].rstrip(b"}") + b"\xff\xfe" + genuine[place:],
                lambda: rng.randbytes(rng.randrange(1, 400)) + b"\xff",
                lambda: b"[" * rng.randrange(1, 30_000),
                lambda: b'{"a":' * rng.randrange(1, 5_000),
                lambda: genuine[:-1] + b',"x":' + b"[" * 80 + b"]" * 80 + b"}",
                lambda: genuine[:-1] + b',"x":NaN}',
                lambda: genuine[:-1] + b',"x":-Infinity}',
                lambda: genuine[:-1] + b',"PONumber":"' + po_number.encode() + b'"}',
                lambda: genuine[:-1] + b',"ponumber":"' + po_number.encode() + b'"}',
                lambda: genuine[:-1] + b',"x":' + b"9" * 5_000 + b"}",
                lambda: json.dumps(document | {"PONumber": 10**400}).encode(),
                lambda: json.dumps(
                    document | {"Action": rng.choice([None, 1, True, [], {}, "", "Fulfilment"])}
                ).encode(),
                lambda: json.dumps(document | {"PONumber": rng.choice([[], {}, True, 1.5, "", None])}).encode(),
                lambda: json.dumps([document]).encode(),
                lambda: json.dumps(json.dumps(document)).encode(),
                lambda: rng.choice(
                    [b"", b"null", b"0", b'""', b"{}", b"[]", b"\x00", b"\xef\xbb\xbf", b"<a/>", b"a=b"]
                ),
                lambda: genuine.decode().encode("utf-16"),
                lambda: b" " * rng.choice([64 * 1024, 65 * 1024, 200 * 1024]) + genuine,
            ]
        )()  # type: ignore[no-untyped-call]  # a lambda has no types

    def _parts(self, body: bytes) -> tuple[bytes, ...]:
        """The body in one piece or in several, empty ones among them."""
        rng = self._rng
        if rng.random() < 0.8:
            return (body,)
        cut = rng.randint(0, len(body))
        return (body[:cut], b"", body[cut:])

    def _headers(self) -> tuple[tuple[bytes, bytes], ...]:
        rng = self._rng
        if rng.random() < 0.7:
            return ()
        return (
            rng.choice(
                [
                    (b"content-length", rng.choice([b"-1", b"0", b"9" * 400, b"x", b"10, 20"])),
                    (b"content-type", rng.choice([b"multipart/form-data", b"text/html; charset=\xff", b""])),
                    (b"x-forwarded-for", b"127.0.0.1"),
                    (b"host", rng.choice([b"", b"[", b"evil.example", b"\xff"])),
                    (b"content-encoding", b"gzip"),
                    (b"cookie", rng.randbytes(40)),
                    (b"transfer-encoding", b"chunked"),
                ]
            ),
        )

    def _source(self) -> str:
        rng = self._rng
        if rng.random() < 0.5:
            return "192.0.2.1"
        if rng.random() < 0.5:
            return f"198.51.{rng.randrange(256)}.{rng.randrange(256)}"
        return f"2001:db8:{rng.randrange(65536):x}:{rng.randrange(65536):x}::{rng.randrange(65536):x}"


class Fortress:
    """The routes beside the pages over a store with a few orders, and what calls may leave there."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store: Database = database.connect(f"sqlite:///{folder / 'tracking.db'}")
        self.planner = PlanningContext(Policy(), random.Random(1))
        self.store.write(self._fill)
        known = {"webhook_secret": ",".join(SECRETS), "roles": frozenset({Role.WEBHOOKS})}
        provider = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": "x" * 20}
        settings = load(**known, **provider, database_url=self.store.url)
        self.backend = Backend(settings, clock=self.clock, store=self.store)
        self.app = self.backend.asgi(lifespan=False)
        self.woken = 0
        self.backend.receiver._wake = self._wake
        self.before = self.kept()

    def _wake(self) -> None:
        self.woken += 1

    def _fill(self, connection: sa.Connection) -> None:
        now = self.clock.now
        for number, po_number in enumerate(KNOWN, start=1):
            if number > len(KNOWN) // 2:
                ingest.place(connection, request(po_number), source="form", actor=None, now=now)
            else:
                ingest.discover(connection, shown(f"BLK-{number}", po_number), now, now, self.planner)

    def kept(self) -> list[Any]:
        """Everything stored but callbacks."""
        with self.store.read() as connection:
            tables = (ORDERS, LINES, EVENTS, OUTBOX)
            return [connection.execute(sa.select(table)).all() for table in tables]

    def refusals(self) -> Counter[str]:
        """The callbacks that are stored, by outcome."""
        counted = sa.select(CALLBACKS.c.outcome, sa.func.count()).group_by(CALLBACKS.c.outcome)
        with self.store.read() as connection:
            return Counter({row[0]: row[1] for row in connection.execute(counted)})

    async def ask(self, call: Call) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
        """Status, headers and body of the answer."""
        path = unquote_to_bytes(call.path).decode("utf-8", "replace")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": path,
            "raw_path": call.path,
            "query_string": b"",
            "root_path": "",
            "headers": list(call.headers),
            "client": (call.source, 4711),
            "server": ("console", 80),
        }
        left = list(call.body)
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            part = left.pop(0) if left else b""
            return {"type": "http.request", "body": part, "more_body": bool(left)}

        async def send(message: Any) -> None:
            said.append(message)

        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in said[1:])
        return said[0]["status"], tuple(said[0]["headers"]), body

    def harmed(self, calls: int) -> list[str]:
        """What so many hostile calls changed that they must not change."""
        outcomes = self.refusals()
        seconds = (A_CALL * calls).total_seconds()
        wrong = [
            "orders, lines, events or due times changed" if self.kept() != self.before else "",
            f"{self.woken} calls woke the poller" if self.woken else "",
            f"callbacks were taken: {dict(outcomes)}" if set(outcomes) - {"refused"} else "",
            f"{outcomes['refused']} refusals kept"
            if outcomes["refused"] > REFUSALS_STORED_PER_SECOND * (seconds + 2)
            else "",
            "" if self.backend.receiver._commits.idle else "something is still at work",
        ]
        return [each for each in wrong if each]

    def rest(self) -> None:
        """As if its loops, which do not run here, had begun just now: /healthz says so."""
        self.backend._health.started_at = self.clock.now

    def close(self) -> None:
        """Lets go of the store."""
        self.store.close()


@dataclass
class Figures:
    """What came of an assault."""

    calls: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    grown: float = 0.0


def memory() -> float:
    """The resident memory of this process in MB; 0 where the system does not tell."""
    gc.collect()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    return 0.0


async def assail(fortress: Fortress, generator: Generator, calls: int) -> Figures:
    """Sends so many calls through ASGI, many at once."""
    figures, began, settled = Figures(), time.perf_counter(), 0.0

    async def one() -> None:
        call = generator.call()
        fortress.clock.now += A_CALL
        try:
            answer = await fortress.ask(call)
        except Exception as exc:  # noqa: BLE001 - whatever comes out is what is looked for
            figures.problems.append(f"{type(exc).__name__} for {call!r}"[:400])
            return
        figures.calls += 1
        if answer != REFUSAL:
            figures.problems.append(f"{answer!r} for {call!r}"[:400])

    while figures.calls < calls and len(figures.problems) < MOST_PROBLEMS:
        await asyncio.gather(*(one() for _ in range(min(TOGETHER, calls - figures.calls))))
        if not settled and figures.calls >= WARM_UP * calls:
            settled = memory()
    figures.grown = memory() - settled
    figures.seconds = time.perf_counter() - began
    return figures


# Over a socket


class StackTraces(logging.Handler):
    """Hears of every exception that the server logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps what it was."""
        if record.exc_info:
            self.heard.append(f"the server logs {record.exc_info[1]!r}")


def raw(rng: random.Random, generator: Generator, paths: Sequence[bytes]) -> bytes:
    """The bytes of one request, or of what looks like one."""
    call = generator.call()
    body = b"".join(call.body)[:200_000]
    path = call.path if rng.random() < 0.6 else rng.choice(paths)
    method = call.method.encode()
    size = str(len(body)).encode()
    line = method + b" " + path + b" HTTP/1.1\r\n"
    close = b"Connection: close\r\n"
    plain = line + b"Host: console\r\n" + close + b"Content-Length: " + size + b"\r\n\r\n" + body
    shapes: list[Callable[[], bytes]] = [
        lambda: plain,
        lambda: line + close + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        lambda: line + close + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n" + body,
        lambda: line + close + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 70_000,
        lambda: line + close + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + body,
        lambda: line + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        lambda: line + b"Content-Length: -5\r\n\r\n",
        lambda: line + b"Content-Length: " + b"9" * 60 + b"\r\n\r\n",
        lambda: line + b"X-Bomb: y\r\n" * 5_000 + b"\r\n",
        lambda: line + b"X-Bomb: " + b"y" * 100_000 + b"\r\n\r\n",
        lambda: line + b"X-N\x00l: \x01\x7f\r\n" + close + b"\r\n",
        lambda: line + b"Expect: 100-continue\r\n" + close + b"Content-Length: " + size + b"\r\n\r\n" + body,
        lambda: (
            line + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n\r\n"
        ),
        lambda: method + b" " + path + b"?" + rng.randbytes(30).hex().encode() + b"=%ff HTTP/1.0\r\n\r\n",
        lambda: method + b" http://evil.example" + path + b" HTTP/1.1\r\n" + close + b"\r\n",
        lambda: method + b" " + path + b"\xc3\xa9\xff HTTP/1.1\r\n" + close + b"\r\n",
        lambda: method + b" " + path + b" HTTP/9.9\r\n\r\n",
        lambda: method + b" *" + b" HTTP/1.1\r\n" + close + b"\r\n",
        lambda: plain[: rng.randrange(1, len(plain))],
        lambda: rng.randbytes(rng.randrange(1, 300)),
        lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
        lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        lambda: b"\r\n" * 3_000,
        lambda: plain.replace(close, b"") * 3 + plain,
    ]
    return rng.choice(shapes)()


def exchange(port: int, said: bytes, *, patience: float = 5.0) -> bytes:
    """Everything that comes back until the connection is closed, where the caller has no more to say."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), patience) as connection:
        with contextlib.suppress(OSError):  # refused before everything was said
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            answer += part
    return answer


def statuses(answer: bytes) -> list[int]:
    """The status of each answer on the connection."""
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return [int(line.split(b" ")[1]) for line in lines]


def bombard(port: int, rng: random.Random, generator: Generator, calls: int, paths: Sequence[bytes]) -> Figures:
    """Sends raw bytes, each on a connection of its own."""
    figures, began, traces = Figures(), time.perf_counter(), StackTraces()
    logging.getLogger("uvicorn.error").addHandler(traces)
    for _ in range(calls):
        said = raw(rng, generator, paths)
        answer = exchange(port, said)
        figures.calls += 1
        found = statuses(answer)
        figures.answers.update(str(status) for status in found)
        figures.answers["no answer"] += not found
        if any(status >= 500 for status in found):
            figures.problems.append(f"{answer[:200]!r} for {said[:200]!r}")
        if b"Traceback" in answer or b'File "' in answer:
            figures.problems.append(f"a stack trace for {said[:200]!r}")
        if b" 404 " in answer.partition(b"\r\n")[0] and said.startswith(b"POST /webhooks") and len(found) == 1:
            figures.answers[f"refusal {_without_date(answer)!r}"] += 1
        if len(figures.problems) >= MOST_PROBLEMS:
            break
    figures.seconds = time.perf_counter() - began
    logging.getLogger("uvicorn.error").removeHandler(traces)
    figures.problems += traces.heard
    kinds = [kind for kind in figures.answers if kind.startswith("refusal ")]
    if len(kinds) > 1:
        figures.problems.append(f"refusals differ: {kinds}")
    return figures


def _without_date(answer: bytes) -> bytes:
    """The answer but for its Date, and for the Connection header, which answers the caller's own."""
    passed = (b"date:", b"connection:")
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(passed))


PATHS = (
    b"/healthz",
    b"/metrics",
    b"/healthz/",
    b"/webhooks",
    b"/",
    b"//",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/\xff",
    b"*",
)


def main() -> int:
    """Runs what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="Generated hostile requests against the receiver.")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(10**9)
    _say(f"seed {seed}")
    rng = random.Random(seed)
    generator = Generator(rng)
    over_a_socket = max(asked.calls // SHARE_OVER_A_SOCKET, 1)
    with tempfile.TemporaryDirectory(prefix="tracking-hostile-") as folder:
        fortress = Fortress(Path(folder))
        inside = asyncio.run(assail(fortress, generator, asked.calls - over_a_socket))
        fortress.rest()
        with serving(fortress.app) as port:
            outside = bombard(port, rng, generator, over_a_socket, PATHS)
        problems = [*inside.problems, *outside.problems, *fortress.harmed(asked.calls)]
        kept = fortress.refusals()["refused"]
        fortress.close()
    if inside.grown > MOST_GROWTH:
        problems.append(f"the memory grew by {inside.grown:.0f} MB")
    _say(*problems[:MOST_PROBLEMS])
    told = ", ".join(f"{count} x {what}" for what, count in outside.answers.most_common() if len(what) < 12)
    _say(
        f"{inside.calls} hostile calls through ASGI ({inside.calls / inside.seconds:,.0f} a second), {outside.calls} as"
        f" raw bytes ({told}); {kept} refusals kept; memory +{inside.grown:.1f} MB; seed {seed};"
        f" {len(problems)} problems{' FALLS SHORT' if problems else ''}"
    )
    return 1 if problems else 0


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 - this is a command, its lines are its result


if __name__ == "__main__":
    sys.exit(main())
