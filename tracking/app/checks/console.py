"""Checks of the console's own address: who would reach the pages there, and whether the port is free.

The options are those of Streamlit's configuration files and of the environment; what is written behind the command
that starts the console is not known here.
"""

import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tracking.app.checks.results import CheckResult, Outcome
from tracking.app.folders import launcher
from tracking.app.web.page_access import check_page_access, is_local
from tracking.errors import Problem, SettingsError
from tracking.settings.roles import Role
from tracking.settings.values import Settings

NAME = "console"
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - what Streamlit binds to where nothing is set  # nosec B104
PORT = 8501  # Streamlit's own
LONGEST_CALL = 5.0  # seconds


def check_console(settings: Settings, folder: Path) -> Iterator[CheckResult]:
    """Check the address of the pages. Raises SettingsError for one that would show them to anyone."""
    if Role.PAGES not in settings.roles:
        yield CheckResult(NAME, Outcome.OK, "no pages: TRACKING_ROLES leaves them out")
        return
    options = _server_options(folder)
    address = str(options.get("address") or ALL_INTERFACES)
    check_page_access(
        settings,
        address=address,
        provider=_sign_in_provider(folder),
        trusted_headers=options.get("trustedUserHeaders") or {},
    )
    port = int(options.get("port") or PORT)
    path = str(options.get("baseUrlPath") or "").strip("/")
    yield _check_port(address, port, path, _audience(settings, address))


def _audience(settings: Settings, address: str) -> str:
    if settings.asks_to_sign_in:
        return "people sign in"
    return "for this machine alone" if is_local(address) else "whoever reaches it sees all and does all"


def _check_port(address: str, port: int, path: str, audience: str) -> CheckResult:
    written = f"[{address}]" if ":" in address else address
    url = f"http://{written}:{port}/{path}"
    host = "127.0.0.1" if address == ALL_INTERFACES else address
    try:
        socket.create_connection((host, port), timeout=LONGEST_CALL).close()
    except OSError:
        return CheckResult(NAME, Outcome.OK, f"{url}: the port is free; {audience}")
    try:
        document = httpx.get(f"{url.rstrip('/')}/healthz", timeout=LONGEST_CALL, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        document = {}
    if isinstance(document, dict) and "loops" in document:
        return CheckResult(NAME, Outcome.OK, f"{url}: a console runs there already; {audience}")
    text = f"{url}: another program listens at that port"
    return CheckResult(NAME, Outcome.FAILURE, text, "stop it, or give the console another port: --server.port")


def _server_options(folder: Path) -> Mapping[str, Any]:
    """Streamlit's options of the section [server], those of the environment first."""
    options: dict[str, Any] = {}
    for place in (Path.home(), launcher().parent, folder):
        options |= _read_toml("config.toml", place).get("server") or {}
    named = {"address": "ADDRESS", "port": "PORT", "baseUrlPath": "BASE_URL_PATH"}
    given = {option: os.environ.get(f"STREAMLIT_SERVER_{name}") for option, name in named.items()}
    return options | {option: value for option, value in given.items() if value}


def _sign_in_provider(folder: Path) -> Mapping[str, Any]:
    """The section [auth] of Streamlit's secrets, the console's own before the user's."""
    provider: dict[str, Any] = {}
    for place in (Path.home(), folder):
        provider |= _read_toml("secrets.toml", place).get("auth") or {}
    return provider


def _read_toml(name: str, folder: Path) -> dict[str, Any]:
    file = folder / ".streamlit" / name
    try:
        return tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        message = "cannot be read: it must be TOML in UTF-8"
        raise SettingsError([Problem(f".streamlit/{name}", message)]) from None  # the cause repeats a line
