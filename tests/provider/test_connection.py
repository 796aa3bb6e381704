import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tracking.errors import NotSent, SettingsError
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.client import Client
from tracking.provider.http.connection import HttpClients, check_environment, no_connection
from tracking.provider.http.session import ApiAccount, ApiLimits

PASSWORD = "hush-hush"
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Called:
    """A client whose calls and their records are counted."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.records: list[ApiCallRecord] = []
        self.last_error: str | None = None

    def fails(self) -> str:
        """Why it could not be asked for the balance."""

        async def ask() -> None:
            client = Client(
                ApiAccount(self.base_url, "ops@example.com", "made-up"),
                limits=ApiLimits(1000, 10),
                record=self.records.append,
            )
            try:
                await client.balance()
            finally:
                self.last_error = client.status()["last_error"]
                await client.aclose()

        with pytest.raises(NotSent) as caught:
            asyncio.run(ask())
        return str(caught.value)


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a port of this machine that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # a caller that trusts no certificate hangs up
                super().handle()

        do_GET = do_POST = do_CONNECT = answer  # noqa: N815 - the names of the class above

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def status(number: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(number)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def certificate(folder: Path, *, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
    """A server's context whose certificate, signed by itself, is in `folder`/c.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made up")])
    now = dt.datetime.now(dt.UTC)
    begin, end = (now + dt.timedelta(days=each) for each in days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "k.pem").write_bytes(key.private_bytes(pem, *plain))
    (folder / "c.pem").write_bytes(made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return context


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


# Why there is no connection


def test_a_refused_connection_says_so_in_the_error_the_record_and_the_status() -> None:
    called = Called(f"http://127.0.0.1:{free_port()}")
    why = "connection refused: nothing listens at that address and port"
    assert called.fails() == f"no connection to the provider: {why}"
    assert [record.outcome for record in called.records] == [f"not sent: {why}"]
    assert called.last_error == f"NotSent: no connection to the provider: {why}"


@pytest.mark.parametrize(
    ("made", "trusted", "why"),
    [
        ({}, False, "its certificate is self-signed"),
        ({"days": (-9, -2)}, True, "its certificate has expired"),
        ({"days": (2, 9)}, True, "its certificate is not valid yet"),
        ({"host": "192.0.2.1"}, True, "its certificate is for another address"),
    ],
)
def test_each_fault_of_a_certificate_is_named(
    made: dict[str, object], trusted: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = certificate(tmp_path, **made)  # type: ignore[arg-type]
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
    with serving(status(200), context) as port:
        assert why in Called(f"https://127.0.0.1:{port}").fails()


def test_http_where_https_was_meant_is_named() -> None:
    with serving(status(200)) as port:
        assert "does not support TLS" in Called(f"https://127.0.0.1:{port}").fails()


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its host name cannot be resolved (DNS)"),
        (OSError(101, "Network is unreachable"), "no network leads there from here"),
        (OSError(113, "No route to host"), "no network leads there from here"),
        (TimeoutError(), "it could not be connected to in time"),
        (PermissionError(1, "Operation not permitted"), "this machine lets no connection out"),
        (ConnectionResetError(), "it broke off while being connected to"),
    ],
)
def test_what_the_network_says_is_told_apart(cause: Exception, why: str) -> None:
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = cause
    assert no_connection(error, "https://provider.example.com") == f"no connection to the provider: {why}"


def test_an_unknown_cause_claims_nothing() -> None:
    assert no_connection(httpx.ConnectError("x"), "https://provider.example.com") == "no connection to the provider"


# The proxy


def test_the_proxy_of_the_environment_is_asked_with_its_credentials_which_no_record_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.path, handler.headers["Proxy-Authorization"]))
        status(502)(handler)

    with serving(answer) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ops:{PASSWORD}@127.0.0.1:{port}")
        called = Called("https://provider.invalid")
        why = called.fails()
    assert why == "no connection to the provider: the proxy could not reach it (502)"
    assert [path for path, _ in asked] == ["provider.invalid:443"]
    assert (asked[0][1] or "").startswith("Basic ")
    assert PASSWORD not in repr(called.records) + str(called.last_error)


@pytest.mark.parametrize(("number", "why"), [(407, "asks for credentials"), (403, "refused to connect to it (403)")])
def test_a_proxy_that_refuses_is_named(number: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(status(number)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert why in Called("https://provider.invalid").fails()


def test_a_proxy_that_is_not_there_is_not_taken_for_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    assert Called("https://provider.invalid").fails().startswith("no connection to the proxy: connection refused")


def test_what_no_proxy_names_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        status(502)(handler)

    with serving(answer) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        assert Called(f"http://127.0.0.1:{free_port()}").fails().startswith("no connection to the provider")
    assert asked == []


# Certificates, and what must not be read


def test_a_companys_own_authority_is_trusted_and_a_netrc_replaces_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {PASSWORD}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
    sent: list[tuple[str | None, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sent.append((handler.headers["Authorization"], handler.headers["AccessToken"]))
        status(500)(handler)

    with serving(answer, certificate(tmp_path)) as port:
        assert Called(f"https://127.0.0.1:{port}").fails().startswith("no token")
    assert sent == [(None, "made-up")]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTPS_PROXY", f"http://ops:{PASSWORD}@host:port", "HTTPS_PROXY: must be an address such as"),
        ("HTTPS_PROXY", f"socks5://ops:{PASSWORD}@host:1080", "SOCKS is not supported"),
        ("ALL_PROXY", f"ftp://ops:{PASSWORD}@host", "ALL_PROXY: must be an address such as"),
        ("SSL_CERT_FILE", "/no/such/file.pem", "SSL_CERT_FILE: cannot be read (No such file or directory)"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE: holds no certificate in PEM form"),
        ("SSL_CERT_DIR", "/no/such/folder", "SSL_CERT_DIR: names no folder that exists"),
    ],
)
def test_an_environment_that_cannot_be_used_is_told_at_the_start_without_its_password(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        check_environment()
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)


class Counted:
    """A provider on 127.0.0.1 that counts its connections. It breaks one off that asks for /broken."""

    def __init__(self) -> None:
        self.connections = 0
        self.tasks: list[asyncio.Task[object] | None] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"/broken" not in await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_each_call_in_flight_has_a_connection_of_its_own_which_later_calls_use_again() -> None:
    provider = Counted()

    async def call(clients: HttpClients, path: str = "/") -> int:
        async with clients.client() as client:
            return (await client.get(path)).status_code

    async def run() -> list[int]:
        server = await provider.serve()
        clients = HttpClients(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        counted = []
        for _ in range(2):
            await asyncio.gather(*(call(clients) for _ in range(5)))
            counted.append(provider.connections)
        with pytest.raises(httpx.HTTPError):
            await call(clients, "/broken")
        for _ in range(2):
            await asyncio.gather(*(call(clients) for _ in range(5)))
            counted.append(provider.connections)
        await clients.aclose()
        await asyncio.gather(*filter(None, provider.tasks))
        server.close()
        return counted

    assert asyncio.run(run()) == [5, 5, 6, 6]


def test_clients_that_share_what_sends_do_not_close_it_for_one_another() -> None:
    closed = []

    class Wire(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ReadError("broken", request=request)

        async def aclose(self) -> None:
            closed.append(self)

    async def run() -> None:
        clients = HttpClients("http://provider.example", transport=Wire())
        for _ in range(2):
            with pytest.raises(httpx.ReadError):
                async with clients.client() as client:
                    await client.get("/")
        assert closed == []
        await clients.aclose()

    asyncio.run(run())
    assert len(closed) == 1
