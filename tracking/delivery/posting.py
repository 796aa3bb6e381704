"""Posting: one POST to a receiver, to the very IP address that was checked; no proxy, no redirects.

The host's name is resolved here, each of its addresses is checked, and one of them is connected to; the certificate is
still held against the name. What is read of an answer is bounded, in bytes and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpcore
import httpx

from tracking.delivery.targets import IpAddress, IpNetwork, Target, TargetRefused, check_ip
from tracking.errors import causes_of
from tracking.provider.http.intermediaries import named_page

log = logging.getLogger(__name__)

RESOLVERS = 8
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0  # for what follows the answer's status
CLOSE_SECONDS = 1.0
WHOLE_SECONDS = 20.0
ANSWER_BYTES = 16_384  # read of an answer at the most
ANSWER_LENGTH = 500  # characters of it that are stored
GONE = 410
AGENT = "fulfillment-tracking"
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host's name; returns its addresses as texts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one POST: the status and the beginning of the answer, or in `error` why there was none.

    Both where the answer is a page that a firewall, a proxy or a network's sign-in shows in the receiver's place.
    """

    status: int | None = None
    answer: str | None = None
    retry_after: str | None = None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300 and self.error is None


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    """A name whose servers do not answer holds a thread for half a minute; the event loop's own are few."""
    return ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve the host's name by the system, in threads that nothing else waits for. Raises OSError."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    answers = await asyncio.get_running_loop().run_in_executor(_resolvers(), ask)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of a host's name that may be sent to, one after the other, and to no others."""

    def __init__(self, scheme: str, allowed: Sequence[IpNetwork], resolve: Resolve) -> None:
        self._scheme, self._allowed, self._resolve = scheme, allowed, resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own words
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        refused = failed = None
        for address in map(_ip_address, await self._resolve(host, port)):
            try:
                check_ip(address, self._scheme, self._allowed)
                stream = await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except TargetRefused as exc:
                refused = exc
                continue
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
                continue
            return await self._checked(stream, address)
        raise refused or failed or httpcore.ConnectError("its name has no address")

    async def _checked(self, stream: httpcore.AsyncNetworkStream, address: IpAddress) -> httpcore.AsyncNetworkStream:
        """The connection, once it is known to be with the address that was checked."""
        peer = stream.get_extra_info("server_addr")
        if peer is None or _ip_address(peer[0]) != address:
            await stream.aclose()
            raise TargetRefused("another address answered than was connected to")
        return stream

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise TargetRefused(f"no receiver is a file: {path}")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _ip_address(text: str) -> IpAddress:
    return ipaddress.ip_address(text.partition("%")[0])


class Poster:
    """Posts to receivers: `allowed` are the networks that are sent to though they are not public."""

    def __init__(
        self, allowed: Sequence[IpNetwork] = (), *, resolve: Resolve = resolve, seconds: float = WHOLE_SECONDS
    ) -> None:
        self._allowed, self._resolve, self._seconds = tuple(allowed), resolve, seconds
        self._certificates: ssl.SSLContext | None = None

    async def post(self, target: Target, payload: str, headers: Mapping[str, str]) -> Reply:
        """Post once. What goes wrong is in the reply; nothing in it is of the payload or of a URL's query."""
        try:
            async with asyncio.timeout(self._seconds) as whole:
                return await self._post(target, payload.encode(), headers, whole)
        except httpcore.ConnectTimeout:
            return Reply(error=f"it could not be connected to within {CONNECT_SECONDS:g} seconds")
        except (TimeoutError, httpcore.TimeoutException):
            return Reply(error=f"no answer within {self._seconds:g} seconds")
        except TargetRefused as exc:
            return Reply(error=f"not sent: the address {exc}")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            return Reply(error=_reason(exc))
        except Exception as exc:  # noqa: BLE001 - whatever a receiver brings about is recorded and counted; no address
            log.warning("a notification could not be posted error=%s", type(exc).__name__)
            return Reply(error=f"it could not be posted ({type(exc).__name__})")

    async def _post(self, target: Target, body: bytes, headers: Mapping[str, str], whole: asyncio.Timeout) -> Reply:
        network = _CheckedNetwork(target.scheme, self._allowed, self._resolve)
        url = httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        own = {"host": target.authority, "content-type": "application/json", "user-agent": AGENT, "accept": "*/*"}
        sent = [*(own | {"content-length": str(len(body))} | dict(headers)).items()]
        timeouts = {"connect": CONNECT_SECONDS, "read": self._seconds, "write": self._seconds, "pool": CONNECT_SECONDS}
        # A connection for each: one that was left open may be closed by the receiver while the next body is sent.
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._trusted() if target.scheme == "https" else None, network_backend=network
            ) as pool,
            pool.stream("POST", url, headers=sent, content=body, extensions={"timeout": timeouts}) as response,
        ):
            # With its status it is decided, however long the rest takes.
            until = min(whole.when() or 0, asyncio.get_running_loop().time() + ANSWER_SECONDS)
            whole.reschedule(until + CLOSE_SECONDS)
            body = await _beginning(response, until)
        given = {name.lower(): value for name, value in response.headers}
        retry_after = given.get(b"retry-after", b"").decode("latin-1")[:100] or None
        # Of others the status says enough, whoever answers.
        page = named_page(body) if 200 <= response.status < 300 or response.status == GONE else None
        error = f"{page} came instead of the receiver's answer" if page else None
        return Reply(response.status, _text(body), retry_after, error)

    def _trusted(self) -> ssl.SSLContext:
        if self._certificates is None:
            self._certificates = httpx.create_ssl_context()
        return self._certificates


async def _beginning(response: httpcore.Response, until: float) -> bytes:
    """The beginning of the answer, as much as came by then (a time of the loop's clock).

    What breaks off or stops after its status was an answer.
    """
    read = bytearray()
    broken = httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError
    with contextlib.suppress(*broken):
        async with asyncio.timeout_at(until):
            async for chunk in response.aiter_stream():
                read += chunk
                if len(read) >= ANSWER_BYTES:
                    break
    return bytes(read[:ANSWER_BYTES])


def _text(body: bytes) -> str | None:
    """The beginning of the answer, as text that can be stored."""
    text = body.decode("utf-8", "replace").replace("\x00", "\ufffd").strip()
    return text[:ANSWER_LENGTH] or None


def _reason(error: Exception) -> str:
    for cause in causes_of(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is refused: {cause.verify_message}"
            case ssl.SSLError():
                return "no connection: it does not speak TLS as we do"
            case socket.gaierror():
                return "its host name cannot be resolved (DNS)"
            case ConnectionRefusedError():
                return "connection refused: nothing listens there"
            case ConnectionResetError() | BrokenPipeError():
                return "the connection broke off"
            case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH | errno.ENETDOWN | errno.EADDRNOTAVAIL):
                return "no network leads there from here"
            case PermissionError():
                return "this machine lets no connection out"
    if isinstance(error, httpcore.RemoteProtocolError):
        return "it closed the connection without an answer, or answered with no HTTP"
    return "no connection"
