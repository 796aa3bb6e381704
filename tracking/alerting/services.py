"""Services that alerts are sent by: those that Apprise knows, loaded from the setting. Their addresses are secrets.

What Apprise logs may hold an address, and so may what is raised: neither leaves this module.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking.errors import Problem, SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from tracking.alerting.messages import Message

log = logging.getLogger(__name__)
SETTING = "TRACKING_ALERTS"
INSTALL = "pip install 'fulfillment-tracking[alerts]'"
# Loggers that repeat addresses: Apprise's own, and those of the libraries by which most services are called.
_TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "requests")


# Why a message was not taken, as Apprise says it nowhere but in its log; the first that fits is told, in these words.
_CAUSES = (
    (r"error[=:] ?([1-5]\d\d)\b", "it answers {}"),
    (r"certificate.verify.failed", "its certificate is refused"),
    (r"SSLError|\[SSL", "it does not speak TLS as we do"),
    (r"ProxyError|connect to proxy", "the proxy does not connect to it"),
    (r"name.?resolution|name or service not known|getaddrinfo", "its host name cannot be resolved (DNS)"),
    (r"connection refused|\bECONNREFUSED\b", "connection refused: nothing listens there"),
    (r"unreachable", "no network leads there from here"),
    (r"timed out|timeout", "no answer in time"),
    (r"\(([45]\d\d), b['\"]", "the mail server answers {}"),
    (r"connection (?:error|reset)|connection unexpectedly closed", "no connection"),
)
_UNSAID = "it was not taken, and Apprise does not say why"


# Each message is sent in a thread of its own, so what is logged there is about that message alone.
_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


class _Silence(logging.Filter):
    """Drops what such a logger says, and counts its warnings: Apprise says nowhere else that a file has a fault.

    Notes what it says of a message in `_HEARD`, which never leaves this module.
    """

    warnings = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Count it, and drop it."""
        self.warnings += record.levelno >= logging.WARNING
        if (heard := _HEARD.get()) is not None:
            heard.append(record.getMessage())
        return False


def _cause(heard: Iterable[str]) -> str:
    """Why a message was not taken, in words of ours: what is said may hold an address."""
    text = "\n".join(heard)
    for pattern, words in _CAUSES:
        if match := re.search(pattern, text, re.IGNORECASE):
            return words.format(*match.groups())
    return _UNSAID


_SILENCE = _Silence()


class Service:
    """One service: `name` is that of its kind, such as "mailto", numbered where there are several of it.

    `cause` says why it did not take the last message, None where it did.
    """

    def __init__(self, name: str, apprise: Any) -> None:
        self.name = name
        self.cause: str | None = None
        self._apprise = apprise

    def __repr__(self) -> str:
        """Its name alone: its address is a secret."""
        return f"Service({self.name!r})"

    def send(self, message: Message) -> bool:
        """Send the message; False where it was not taken. Raises nothing, and takes as long as the service does."""
        heard = list[str]()
        listening = _HEARD.set(heard)
        try:
            sent = self._apprise.notify(
                title=message.title, body=message.body, notify_type=message.gravity.value, body_format="text"
            )
        except Exception as exc:  # noqa: BLE001 - whatever a service raises may hold its address
            log.warning("alert not sent service=%s error=%s", self.name, type(exc).__name__)
            self.cause = _cause([*heard, repr(exc)])
            return False
        finally:
            _HEARD.reset(listening)
        before, self.cause = self.cause, None if sent else _cause(heard)
        if self.cause not in {None, before}:
            log.warning("alert not sent service=%s: %s", self.name, self.cause)
        return bool(sent)

    def start(self, message: Message) -> Future[bool]:
        """Send the message in a thread of its own, which holds up no end of the process."""
        future: Future[bool] = Future()
        future.set_running_or_notify_cancel()
        work = threading.Thread(target=lambda: future.set_result(self.send(message)), name="alert", daemon=True)
        work.start()
        return future


def load_services(addresses: SecretStr | None, console_url: str | None = None, folder: Path = Path()) -> list[Service]:
    """Load the services of the setting: addresses, or the path of a file of them; none where it is unset.

    A relative path begins in the folder.

    Raises SettingsError where Apprise is missing or an address cannot be used, without repeating it.
    """
    if addresses is None:
        return []
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_SILENCE)
    logging.getLogger(_TALKATIVE[0]).setLevel(logging.DEBUG)  # at which it says why; the filter lets nothing through
    try:
        _import_quietly()
        import apprise  # noqa: PLC0415 - an extra, which those without alerts need not have
    except ImportError as exc:
        raise SettingsError([Problem(SETTING, f"needs a library that is not installed: {INSTALL}")]) from exc
    asset = apprise.AppriseAsset(
        app_id="Fulfillment Tracking",
        app_desc="Fulfillment Tracking",
        app_url=console_url or "",
        image_url_mask="",
        image_url_logo="",
        secure_logging=True,
        async_mode=False,
    )
    try:
        loaded = _loaded(apprise, asset, addresses.get_secret_value().strip(), folder)
    except SettingsError:
        raise
    except Exception:  # noqa: BLE001 - as above
        raise SettingsError([Problem(SETTING, _UNUSABLE)]) from None
    return [Service(name, _alone(apprise, asset, each)) for name, each in _named(loaded)]


_UNUSABLE = (
    "has an address that cannot be used: each must be one of Apprise's, as in mailto://user:password@example.com"
)


def _import_quietly() -> None:
    """Import what Apprise imports, without the deprecation warning that only Apprise could fix."""
    if sys.version_info < (3, 13):
        with warnings.catch_warnings():
            # It imports imghdr to see whether there is one, and for nothing else; gone in Python 3.13.
            warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
            import imghdr  # noqa: F401, PLC0415


def _loaded(apprise: Any, asset: Any, text: str, folder: Path) -> list[Any]:
    if "://" in text:
        several = apprise.Apprise(asset=asset)
        if not several.add(text):
            raise SettingsError([Problem(SETTING, f"{_UNUSABLE}; {len(several)} of them can be used")])
        return list(several)
    if not (folder / text).is_file():
        message = "is neither an address with :// in it nor the path of a file that is there"
        raise SettingsError([Problem(SETTING, message)])
    before = _SILENCE.warnings
    file, several = apprise.AppriseConfig(asset=asset), apprise.Apprise(asset=asset)
    loaded = list(several) if file.add(str((folder / text).absolute())) and several.add(file) else []
    if _SILENCE.warnings > before or not loaded:
        message = f"names a file with entries that cannot be used: {len(loaded)} can; each must be one of Apprise's"
        raise SettingsError([Problem(SETTING, message)])
    return loaded


def _alone(apprise: Any, asset: Any, service: Any) -> Any:
    """Wrap one service alone: asked to notify several, Apprise only says whether all of them took the message."""
    alone = apprise.Apprise(asset=asset)
    alone.add(service)
    return alone


def _named(services: Iterable[Any]) -> list[tuple[str, Any]]:
    """Each service with the name of its kind, and from the second of a kind on with its number."""
    numbers: Counter[str] = Counter()
    named = []
    for service in services:
        kind = str(service.schema)
        numbers[kind] += 1
        named.append((kind if numbers[kind] == 1 else f"{kind} {numbers[kind]}", service))
    return named
