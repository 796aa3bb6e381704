"""Connections to the provider: through the environment's proxy, with its certificates; why there was none, in words.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` mean what they mean to curl. A
proxy's address may hold a password, so no message repeats one. A `.netrc` is never read: it would replace the token.
"""

import contextlib
import errno
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tracking.errors import Problem, SettingsError, causes_of

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
# Of OpenSSL: X509_V_ERR_*.
_CERTIFICATE_FAULTS = {
    9: "its certificate is not valid yet; is this machine's clock right?",
    10: "its certificate has expired",
    18: "its certificate is self-signed; if it is meant to be, name it in SSL_CERT_FILE",
    19: "its certificate is signed by an authority unknown here; a company's own belongs in SSL_CERT_FILE",
    20: "its certificate is signed by an authority unknown here; a company's own belongs in SSL_CERT_FILE",
    23: "its certificate was revoked",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}


class HttpClients:
    """The provider over httpx: as many clients as calls are in flight at once, each with one connection.

    One client with all connections looks at each of them before and after every call, which costs more than the call.
    `options` are httpx's own. Raises SettingsError where the environment names a proxy or certificates that cannot be
    used.
    """

    def __init__(self, base_url: str, *, transport: httpx.AsyncBaseTransport | None = None, **options: Any) -> None:
        self._base_url, self._options = base_url, options | {"limits": httpx.Limits(max_connections=1)}
        self._options |= {"transport": transport, "cookies": CookieJar()}
        # Certificates are read once: that takes as long as a hundred calls.
        self._options["verify"] = _certificates() if transport is None else False
        self._all: set[httpx.AsyncClient] = set()
        self._free = [self._open()]

    def _open(self) -> httpx.AsyncClient:
        client = open_http_client(self._base_url, **self._options)
        self._all.add(client)
        return client

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lends a client for one call, whoever used it last first; one whose call broke off is closed."""
        client = self._free.pop() if self._free else self._open()
        try:
            yield client
        except BaseException:
            await self._take_back_broken(client)
            raise
        self._free.append(client)

    async def _take_back_broken(self, client: httpx.AsyncClient) -> None:
        if self._options["transport"] is not None:  # which all have in common
            self._free.append(client)
            return
        self._all.discard(client)
        with contextlib.suppress(httpx.HTTPError, OSError):
            await client.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._all:
            await client.aclose()


def _certificates() -> ssl.SSLContext:
    _check_folders()
    try:
        return httpx.create_ssl_context()
    except OSError as exc:  # also ssl.SSLError
        raise _unusable_certificates(exc) from exc


def open_http_client(base_url: str, **options: Any) -> httpx.AsyncClient:
    """Makes httpx's client for the provider; `options` are httpx's own.

    Raises:
        SettingsError: the environment names a proxy or certificates that cannot be used.
    """
    _check_folders()
    try:
        return httpx.AsyncClient(base_url=base_url, follow_redirects=False, **options)
    except OSError as exc:  # also ssl.SSLError
        raise _unusable_certificates(exc) from exc
    except (ImportError, ValueError, httpx.InvalidURL):
        names = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
        message = "must be an address such as http://proxy.example.com:8080; SOCKS is not supported"
        raise SettingsError([Problem(", ".join(names) or "proxy", message)]) from None  # httpx's words repeat a part


def _check_folders() -> None:
    folders = os.environ.get("SSL_CERT_DIR")
    # OpenSSL trusts nobody then, without a word.
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise SettingsError([Problem("SSL_CERT_DIR", "names no folder that exists")])


def _unusable_certificates(error: OSError) -> SettingsError:
    is_readable = isinstance(error, ssl.SSLError)
    why = "holds no certificate in PEM form" if is_readable else f"cannot be read ({error.strerror})"
    return SettingsError([Problem("SSL_CERT_FILE", why)])


def check_environment() -> None:
    """Raises SettingsError at a start rather than at the first call, where no client could be made."""
    open_http_client("")


def no_connection(error: Exception, base_url: str) -> str:
    """Says that there was no connection to `base_url`, and why: name, refusal, certificate, time or proxy."""
    causes = list(causes_of(error))
    proxied = _is_proxied(base_url)
    for cause in causes:
        match cause:
            case httpx.ProxyError():
                return f"no connection to the provider: {_proxy_refusal(str(cause))}"
            case ssl.SSLCertVerificationError():
                fault = _CERTIFICATE_FAULTS.get(
                    cause.verify_code, f"its certificate is refused ({cause.verify_message})"
                )
                return f"no connection to the provider: {fault}"
            case ssl.SSLError() if "WRONG_VERSION_NUMBER" in str(cause):
                return (
                    "no connection to the provider: the server there does not support TLS: use http instead of https?"
                )
            case ssl.SSLError():
                return "no connection to the provider: no common version of TLS"
    whom = "the proxy" if proxied else "the provider"
    why = next(filter(None, map(_network_fault, causes)), None)
    return f"no connection to {whom}: {why}" if why else f"no connection to {whom}"


def _network_fault(cause: BaseException) -> str | None:
    match cause:
        case socket.gaierror():
            return "its host name cannot be resolved (DNS)"
        case ConnectionRefusedError():
            return "connection refused: nothing listens at that address and port"
        case httpx.PoolTimeout():
            return "all connections were in use for too long"
        case TimeoutError() | httpx.ConnectTimeout():
            return "it could not be connected to in time"
        case ConnectionResetError() | BrokenPipeError():
            return "it broke off while being connected to"
        case OSError(errno=number) if number in _UNREACHABLE:
            return "no network leads there from here"
        case PermissionError():
            return "this machine lets no connection out"
        case httpx.UnsupportedProtocol():
            return "its address is neither http nor https"
    return None


def _proxy_refusal(answer: str) -> str:
    status = answer[:3] if re.match(r"\d{3}\b", answer) else ""
    if status == "407":
        return "the proxy asks for credentials (407); put the right ones into its address"
    if status in {"502", "503", "504"}:
        return f"the proxy could not reach it ({status})"
    return f"the proxy refused to connect to it ({status})" if status else "the proxy refused to connect to it"


def _is_proxied(base_url: str) -> bool:
    """Whether the environment names a proxy for this address, as httpx reads it."""
    parts, proxies = urlsplit(base_url), urllib.request.getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    return bool(named) and not urllib.request.proxy_bypass(parts.hostname or "")
