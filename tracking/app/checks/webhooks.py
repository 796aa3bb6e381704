"""Checks of the webhook address: its form, its host name, whether a console answers there, whether any has come.

Whether the provider reaches it from outside cannot be known from inside; only a webhook that came shows it.
"""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tracking.app.checks.results import CheckResult, Outcome
from tracking.settings.addresses import is_local_address
from tracking.settings.values import Settings
from tracking.storage import engines
from tracking.storage.engines import file_of
from tracking.storage.inbox import last_webhook_at
from tracking.storage.migrations import HEAD

NAME, ARRIVAL = "webhook address", "webhooks"
LONGEST_CALL = 5.0  # seconds


def check_webhooks(settings: Settings, _folder: Path) -> Iterator[CheckResult]:
    """Check where webhooks are to go, and whether any came. Raises StoreUnusable and StoreBusy."""
    if settings.public_url is None:
        if settings.embedded_sandbox:
            yield CheckResult(NAME, Outcome.OK, "not needed: the embedded sandbox sends webhooks within the process")
            return
        text = "TRACKING_PUBLIC_URL is not set: no webhook is asked for, and polls alone find out"
        yield CheckResult(NAME, Outcome.WARNING, text, "set it to the address where the provider reaches us")
        return
    address = _check_address(settings.public_url)
    yield address
    if address.outcome is not Outcome.FAILURE:
        yield _check_answer(settings.public_url)
    yield _check_arrival(settings)


def _check_address(address: str) -> CheckResult:
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        places = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        text = f"the host name {host} cannot be resolved from here (DNS)"
        return CheckResult(NAME, Outcome.FAILURE, text, "check the name in TRACKING_PUBLIC_URL")
    private = [place for *_, (place, *_) in places if not ipaddress.ip_address(str(place).partition("%")[0]).is_global]
    if private and not is_local_address(address):
        text = f"{host} is at a private address as seen from here, which the provider may not reach"
        return CheckResult(NAME, Outcome.WARNING, text, "see that its name leads to a public address outside")
    if parts.scheme == "http":
        text = f"{address} is http: whoever is on the way reads the secret in each order's address"
        return CheckResult(NAME, Outcome.WARNING, text, "use https")
    return CheckResult(NAME, Outcome.OK, f"{address} can be used: https, and its name leads somewhere")


def _check_answer(address: str) -> CheckResult:
    name = "webhook receiver"
    try:
        answer = httpx.get(f"{address}/healthz", timeout=LONGEST_CALL, follow_redirects=False)
        document = answer.json()
    except httpx.HTTPError as exc:
        text = f"nothing answered at that address from here ({type(exc).__name__})"
        return CheckResult(name, Outcome.UNKNOWN, text, "run the check again while a worker runs")
    except ValueError:
        document = None
    if isinstance(document, dict) and {"loops", "roles", "store"} <= set(document):
        if "webhooks" in document["roles"]:
            return CheckResult(name, Outcome.OK, "a console that takes webhooks answers at that address")
        text = "a console answers at that address that takes no webhooks"
        return CheckResult(name, Outcome.FAILURE, text, "let the proxy pass /webhooks/ to a process with that role")
    text = f"no console answers at /healthz there (status {answer.status_code}), which a proxy may keep to itself"
    return CheckResult(name, Outcome.UNKNOWN, text, "see that the proxy passes /webhooks/ on to this console")


def _check_arrival(settings: Settings) -> CheckResult:
    file = file_of(settings.database_url)
    at = None
    if (file is None or file.is_file()) and engines.revision(settings.database_url) == HEAD:
        engine = engines.make_engine(settings.database_url, writes=False)
        try:
            with engines.translated(), engine.connect() as connection:
                at = last_webhook_at(connection)
        finally:
            engine.dispose()
    if at is None:
        text = "whether the provider reaches that address is not known from here: no webhook has come yet"
        return CheckResult(ARRIVAL, Outcome.UNKNOWN, text, "the first one that comes shows it")
    return CheckResult(ARRIVAL, Outcome.OK, f"the last genuine one came on {at:%Y-%m-%d at %H:%M:%S} UTC")
