import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tracking.app.web import page_access
from tracking.app.web.page_access import PageAccessMiddleware, is_local
from tracking.errors import SettingsError
from tracking.settings.values import Settings

PROVIDER = {
    "redirect_uri": "https://console.example.com/oauth2callback",
    "cookie_secret": "x" * 32,
    "client_id": "console",
    "client_secret": "made up",
    "server_metadata_url": "https://id.example.com/.well-known/openid-configuration",
}


def settings(**given: Any) -> Settings:
    """Those of a console that reads neither the environment nor a file."""
    return Settings.model_construct(**given)


OPEN = settings(allow_anyone="yes")
SIGNED = settings(operators=frozenset({"ann@example.com"}))


def refused(given: Settings, **started: Any) -> list[str]:
    usual: dict[str, Any] = {"address": "127.0.0.1", "provider": {}, "trusted_headers": ()}
    with pytest.raises(SettingsError) as caught:
        page_access.check_page_access(given, **(usual | started))
    return [str(problem) for problem in caught.value.problems]


# The start


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "console.example.com", ""])
def test_an_address_that_others_reach_is_refused_and_the_three_ways_are_named(address: str) -> None:
    [told] = refused(settings(), address=address)
    for way in ("bind to 127.0.0.1", "TRACKING_OPERATORS", "TRACKING_ALLOW_ANYONE=yes"):
        assert way in told


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "unix:///run/console.sock", None])
def test_an_address_of_this_machine_needs_nothing_else(address: str | None) -> None:
    page_access.check_page_access(settings(), address=address, provider={}, trusted_headers=())


@pytest.mark.parametrize("given", [OPEN, SIGNED])
def test_whoever_lets_people_sign_in_or_wants_no_sign_in_may_bind_anywhere(given: Settings) -> None:
    page_access.check_page_access(given, address="0.0.0.0", provider=PROVIDER, trusted_headers=())


@pytest.mark.parametrize("missing", [*PROVIDER, *({"": None})])
def test_signing_in_needs_a_whole_provider(missing: str) -> None:
    provider = {name: value for name, value in PROVIDER.items() if missing and name != missing}
    [told] = refused(SIGNED, provider=provider)
    assert told.startswith(".streamlit/secrets.toml: TRACKING_OPERATORS or TRACKING_VIEWERS is set")
    assert (missing or "cookie_secret") in told
    assert "[auth]" in told
    assert "made up" not in told


def test_a_cookie_secret_that_can_be_guessed_and_a_wrong_callback_are_told_together() -> None:
    weak = PROVIDER | {"cookie_secret": "x" * 31, "redirect_uri": "https://console.example.com/"}
    told = refused(SIGNED, provider=weak)
    assert len(told) == 2
    assert not any("x" * 31 in problem for problem in told)


def test_no_header_may_say_who_somebody_is() -> None:
    [told] = refused(SIGNED, provider=PROVIDER, trusted_headers={"X-Email": "email"})
    assert told.startswith("server.trustedUserHeaders: must be unset")


def test_an_address_in_another_dress_is_still_the_same() -> None:
    assert is_local("::ffff:127.0.0.1")
    assert not is_local("::ffff:192.0.2.7")
    assert not is_local("127.0.0.1.example.com")
    assert not is_local("localhost.example.com")


# Each request


def console(given: Settings, hosts: tuple[str, ...] = ()) -> PageAccessMiddleware:
    def said(text: str) -> Callable[[Any], Awaitable[PlainTextResponse]]:
        async def answer(_request: Any) -> PlainTextResponse:
            return PlainTextResponse(text)

        return answer

    routes = [
        Route("/healthz", said("beside")),
        Route("/metrics", said("beside")),
        Route("/webhooks/fulfillment/{token}", said("beside"), methods=["POST"]),
        Mount("/", said_mount()),
    ]
    application = Starlette(routes=routes)
    return PageAccessMiddleware(application, settings=given, provider=PROVIDER, hosts=hosts, routes=routes[:-1])


def said_mount() -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("pages")(scope, receive, send)

    return answer


def ask(
    application: PageAccessMiddleware,
    url: str,
    *,
    client: str = "127.0.0.1",
    host: str | None = None,
    method: str = "GET",
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(application, client=(client, 50_000))
        async with httpx.AsyncClient(transport=transport) as opened:
            return await opened.request(method, url, headers={"Host": host} if host else None)

    return asyncio.run(asked())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8501/", "http://localhost:8501/orders", "http://[::1]:8501/"])
def test_while_nobody_signs_in_this_machine_sees_the_pages(url: str) -> None:
    assert ask(console(settings()), url).text == "pages"


@pytest.mark.parametrize(
    "request_of",
    [
        {"url": "http://192.0.2.7:8501/"},
        {"url": "http://127.0.0.1:8501/", "client": "192.0.2.9"},
        {"url": "http://127.0.0.1:8501/", "host": "rebound.example.com:8501"},
        {"url": "http://127.0.0.1:8501/", "host": "127.0.0.1.rebound.example.com"},
        {"url": "http://192.0.2.7:8501/_stcore/host-config"},
        {"url": "http://192.0.2.7:8501/media/x.csv"},
        {"url": "http://192.0.2.7:8501/healthz/../orders"},
        {"url": "http://127.0.0.1:8501/", "host": "[:8501"},
        {"url": "http://127.0.0.1:8501/", "host": "re_bound.example.com"},
        {"url": "http://127.0.0.1:8501/", "host": "localhost@rebound.example.com"},
    ],
)
def test_while_nobody_signs_in_others_are_refused_the_pages(request_of: dict[str, str]) -> None:
    answered = ask(console(settings()), **request_of)
    assert answered.status_code == 403
    assert answered.text != "pages"
    assert "TRACKING_ALLOW_ANYONE=yes" in answered.text or "Host" in answered.text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/healthz"), ("GET", "/metrics"), ("POST", "/webhooks/fulfillment/token")]
)
def test_what_lies_beside_the_pages_is_reached_from_everywhere(method: str, path: str) -> None:
    url = f"http://192.0.2.7:8501{path}"
    assert ask(console(settings()), url, client="192.0.2.9", method=method).text == "beside"
    named = ask(console(SIGNED), url, client="192.0.2.9", host="hooks.example.com", method=method)
    assert named.text == "beside"


@pytest.mark.parametrize("given", [OPEN, SIGNED])
def test_the_pages_for_all_go_by_address_and_by_names_that_are_known(given: Settings) -> None:
    url = "http://192.0.2.7:8501/"
    for host in ("192.0.2.7:8501", "[2001:db8::7]:8501", "localhost", "Console.example.com"):
        assert ask(console(given), url, client="192.0.2.9", host=host).text == "pages"
    refused = ask(console(given), url, client="192.0.2.9", host="rebound.example.com")
    assert refused.status_code == 403
    assert "server.allowedHosts" in refused.text
    named = console(given, hosts=("other.example.com",))
    assert ask(named, url, client="192.0.2.9", host="other.example.com").text == "pages", "Streamlit looks at names"


def passes(given: Settings, **scope: Any) -> list[str]:
    """What came of a connection: "served", or the messages that refused it."""
    came: list[str] = []

    async def application(*_: Any) -> None:
        came.append("served")

    async def send(message: Any) -> None:
        came.append(f"{message['type']} {message.get('code', message.get('status', ''))}".strip())

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    usual: dict[str, Any] = {
             "type": "http", "path": "/_stcore/stream", "headers": [(b"host", b"localhost")], "method": "GET",
             "query_string": b"", "server": ("127.0.0.1", 8501), "client": ("127.0.0.1", 50_000)}  # fmt: skip
    if scope.get("type") == "websocket":
        usual["headers"] = [(b"host", b"localhost"), (b"origin", b"http://localhost:8501")]
    keeper = PageAccessMiddleware(application, settings=given, provider={}, hosts=(), routes=())
    asyncio.run(keeper({**usual, **scope}, receive, send))
    return came


def test_a_websocket_from_elsewhere_is_closed_before_it_is_accepted() -> None:
    assert passes(settings(), type="websocket") == ["served"]
    for elsewhere in (
        {"server": ("192.0.2.7", 8501)},
        {"client": ("192.0.2.9", 50_000)},
        {"headers": [(b"host", b"rebound.example.com")]},
        {"server": ("192.0.2.7", 8501), "path": "/healthz"},
    ):
        assert passes(settings(), type="websocket", **elsewhere) == ["websocket.close 1008"]
    assert passes(OPEN, type="websocket", server=("192.0.2.7", 8501)) == ["served"]


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: console.example.com",
        "X-Real-IP: 203.0.113.9",
        "X-Client-IP: 203.0.113.9",
        "X-Cluster-Client-Ip: 203.0.113.9",
        "X-Request-Id: 1",
        "Forwarded: for=203.0.113.9;host=console.example.com",
        "Via: 1.1 proxy.example.com",
        "CF-Connecting-IP: 203.0.113.9",
        "True-Client-IP: 203.0.113.9",
        "WL-Proxy-Client-IP: 203.0.113.9",
        "Ali-CDN-Real-IP: 203.0.113.9",
        "X_Forwarded_For: 203.0.113.9",
        "Surrogate-Capability: edge=ESI/1.0",
        "Tailscale-User-Login: somebody@example.com",
        "Origin: https://console.example.com",
        "Origin: null",
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_a_proxy_on_this_machine_hands_on_is_not_of_this_machine(header: str, kind: str) -> None:
    name, _, value = header.partition(": ")
    headers = [(b"host", b"localhost"), (name.lower().encode(), value.encode())]
    if name != "Origin":
        headers.append((b"origin", b"http://localhost:8501"))
    assert passes(settings(), type=kind, headers=headers)[0] in {"http.response.start 403", "websocket.close 1008"}
    assert passes(OPEN, type=kind, headers=headers) == ["served"]


def test_a_proxy_that_adds_nothing_opens_no_page_to_anybody() -> None:
    assert passes(settings(), http_version="1.0") == ["http.response.start 403", "http.response.body"]
    silent = [(b"host", b"127.0.0.1:8501")]
    assert passes(settings(), type="websocket", headers=silent) == ["websocket.close 1008"]
    assert passes(settings(), type="websocket", headers=[*silent, (b"origin", b"http://127.0.0.1:8501")]) == ["served"]


def test_what_the_pages_themselves_send_is_let_through() -> None:
    headers = [(b"host", b"localhost"), (b"x-xsrftoken", b"1"), (b"sec-fetch-site", b"same-origin")]
    assert passes(settings(), headers=headers) == ["served"]


def test_a_socket_in_the_file_system_has_no_port_and_is_of_this_machine() -> None:
    assert passes(settings(), server=("/run/console.sock", None), client=None) == ["served"]
    assert passes(settings(), server=None, client=None) == ["http.response.start 403", "http.response.body"]


def test_the_lifespan_passes() -> None:
    assert passes(settings(), type="lifespan") == ["served"]
