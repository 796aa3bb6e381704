"""Access to the pages over the network: refuses unsafe addresses at the start, and requests from other machines."""

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tracking.app.web.address_check import is_routed
from tracking.errors import Problem, SettingsError
from tracking.settings.values import Settings

PROVIDER_KEYS = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
CALLBACK_PATH = "/oauth2callback"
# Whoever can guess it signs in as anybody.
MIN_COOKIE_SECRET = 32
# Whatever a proxy adds tells that somebody else asks, also where it does not say who. A browser sends no X- header by
# itself; the pages send these.
_OF_A_PROXY = ("x-", "cf-", "fly-", "fastly-", "cloudfront-", "tailscale-", "true-client-", "client-ip", "remote-")
_OF_ANY_PROXY = frozenset(
    (
        *("forwarded", "via", "cdn-loop", "max-forwards", "proxy-connection"),
        *("surrogate-capability", "early-data", "front-end-https"),
    )
)
_ADDRESS_OF_A_CLIENT = ("client-ip", "real-ip", "connecting-ip", "origin-hop", "client-cert", "client-verify")
_OF_A_PAGE = ("x-streamlit-", "x-xsrftoken", "x-csrf", "x-requested-with")

_REMEDIES = (
    "bind to 127.0.0.1; or let people sign in: set TRACKING_OPERATORS, and TRACKING_VIEWERS if you like;"
    " or set TRACKING_ALLOW_ANYONE=yes, and whoever reaches this address sees all and does all"
)


def check_page_access(
    settings: Settings, *, address: str | None, provider: Mapping[str, Any], trusted_headers: Collection[str]
) -> None:
    """Refuse a start that would show the pages to anyone. Raises SettingsError with every problem.

    `address` is what the server binds to, None where that cannot be known, so that the middleware alone decides;
    `provider` the section [auth] of Streamlit's secrets; `trusted_headers` what Streamlit takes an identity from.
    """
    problems = []
    if settings.asks_to_sign_in:
        problems += _provider_problems(provider)
        if trusted_headers:
            message = "must be unset while people sign in: a header that anyone can send would say who they are"
            problems.append(Problem("server.trustedUserHeaders", message))
    elif settings.allow_anyone == "no" and address is not None and not is_local(address):
        message = f"{address} can be reached from other machines, and nobody would be asked to sign in: {_REMEDIES}"
        problems.append(Problem("server.address", message))
    if problems:
        raise SettingsError(problems)


def _provider_problems(provider: Mapping[str, Any]) -> list[Problem]:
    where = ".streamlit/secrets.toml"
    if missing := [name for name in PROVIDER_KEYS if not str(provider.get(name) or "").strip()]:
        asked = "TRACKING_OPERATORS or TRACKING_VIEWERS is set, so people sign in"
        message = f"{asked}: write {', '.join(missing)} into its section [auth], as docs/operating.md shows"
        return [Problem(where, message)]
    messages = []
    if not str(provider["redirect_uri"]).endswith(CALLBACK_PATH):
        messages.append(f"redirect_uri must be the console's own address with {CALLBACK_PATH} behind it")
    if len(str(provider["cookie_secret"])) < MIN_COOKIE_SECRET:
        length = f"{MIN_COOKIE_SECRET} random characters or more"
        messages.append(f"cookie_secret must have {length}: anyone who guesses it can sign in as anybody")
    return [Problem(where, message) for message in messages]


def is_local(host: str) -> bool:
    """Whether this is an address or a name of this machine that no other machine can reach."""
    if host == "localhost" or host.startswith(("unix:", "/")):
        return True
    address = _parse_ip(host)
    return address is not None and address.is_loopback


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class PageAccessMiddleware:
    """ASGI middleware that refuses pages to callers who must not reach them, whatever the server binds to.

    While nobody signs in, a request must have come from this machine, to it, and by one of its own names: a page of
    somebody else in a browser here can make its name lead to this machine, but cannot send another name than its own.
    A proxy on this machine asks by such a name for anybody. It is told from a browser here by the headers that proxies
    add, by HTTP/1.0, which no browser speaks, and by the Origin that a browser sends with each websocket: without that,
    or from another site than this machine's, no websocket opens, and without one a page shows nothing.

    Otherwise it must be by address or by the name in `redirect_uri` of `provider`, the section [auth] of Streamlit's
    secrets, unless Streamlit itself looks at names: `hosts` is its server.allowedHosts. `routes` are the routes beside
    the pages: they show no order to whoever has no token, and other machines have to reach them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        provider: Mapping[str, Any],
        hosts: Collection[str],
        routes: Collection[BaseRoute],
    ) -> None:
        self._app = app
        self._routes = routes
        self._open_to_others = settings.asks_to_sign_in or settings.allow_anyone == "yes"
        self._own_name = urlsplit(str(provider.get("redirect_uri") or "")).hostname
        self._checks_host_names = not hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request, or says why not."""
        why = self._refusal(scope)
        if why is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason="not from here")(scope, receive, send)
        else:
            await PlainTextResponse(f"{why}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        if scope["type"] not in {"http", "websocket"} or (scope["type"] == "http" and is_routed(self._routes, scope)):
            return None
        name = _host_name(Headers(scope=scope).get("host", ""))
        if self._open_to_others:
            if self._checks_host_names and not (name in {"localhost", self._own_name} or _parse_ip(name)):
                return "This console is not served under that host name: add it to Streamlit's server.allowedHosts."
            return None
        server, client = scope.get("server"), scope.get("client")
        by_name = is_local(name) and _is_on_this_machine(server) and (client is None or _is_on_this_machine(client))
        if by_name and not _is_forwarded(scope):
            return None
        return f"Sign-in is off, so the pages are available on this machine only. To change that: {_REMEDIES}."


def _host_name(host: str) -> str:
    """The name in a Host header, empty where there is none or none that can be parsed: nobody goes by that.

    Not from Starlette's `request.url`, which takes the server's own address for a header that it cannot read.
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_forwarded(scope: Scope) -> bool:
    """Whether something says that a proxy hands the request on, or that no page of this machine asks."""
    headers = Headers(scope=scope)
    if scope.get("http_version") == "1.0" or any(map(_is_of_a_proxy, headers)):
        return True
    origin = headers.get("origin")
    if origin is None:
        return bool(scope["type"] == "websocket")
    return not is_local(_host_name(origin.partition("://")[2]))


def _is_of_a_proxy(header: str) -> bool:
    name = header.lower().replace("_", "-")
    is_of_any = name in _OF_ANY_PROXY or name.endswith(_ADDRESS_OF_A_CLIENT)
    return is_of_any or (name.startswith(_OF_A_PROXY) and not name.startswith(_OF_A_PAGE))


def _is_on_this_machine(end: tuple[str, int | None] | None) -> bool:
    """Whether this end of the connection is on this machine; a socket in the file system has no port."""
    return end is not None and (end[1] is None or is_local(end[0]))
