"""Makes the deliverer of a process from its settings, and adds the subscriptions that they name."""

import logging
from collections.abc import Callable
from datetime import datetime

from tracking.access import Person
from tracking.app.folders import console_folder
from tracking.delivery import subscribing
from tracking.delivery.deliverer import Deliverer
from tracking.delivery.importing import check_file, import_file
from tracking.delivery.posting import Poster
from tracking.delivery.signing import SecretCipher
from tracking.errors import ClaimsUnavailable, InvalidSubscription, Problem, SettingsError
from tracking.settings.values import Settings
from tracking.storage.database import Database
from tracking.storage.team import audit_log

log = logging.getLogger(__name__)


def make_deliverer(database: Database, settings: Settings, owner: str, clock: Callable[[], datetime]) -> Deliverer:
    """Make what delivers events; `owner` names the process in leases."""
    allowed, cipher = settings.hooks_allow, SecretCipher(settings.claims_keys())
    return Deliverer(database, Poster(allowed), cipher, owner=owner, clock=clock, allowed=allowed)


def check_hooks(settings: Settings) -> int:
    """Check the file that the settings name, before anything starts; returns how many subscriptions are in it.

    Raises SettingsError where something in it cannot be used.
    """
    if settings.hooks is None:
        return 0
    try:
        return check_file(console_folder() / settings.hooks, settings.hooks_allow)
    except InvalidSubscription as exc:
        raise SettingsError([Problem("TRACKING_HOOKS", str(each)) for each in exc.problems]) from None


def seal_addresses(database: Database, settings: Settings) -> None:
    """Encrypt the addresses of subscriptions that an earlier version stored as they were, where there is a key."""
    try:
        number = subscribing.seal_addresses(database, SecretCipher(settings.claims_keys()))
    except ClaimsUnavailable as exc:
        log.warning("addresses of outgoing webhooks are not encrypted yet: %s", exc)
        return
    if number:
        log.info("addresses of outgoing webhooks encrypted=%d", number)


def add_hooks(database: Database, settings: Settings, now: datetime) -> None:
    """Add the subscriptions of the file that the settings name, where they are missing. Raises SettingsError."""
    seal_addresses(database, settings)
    if settings.hooks is None:
        return
    cipher, by = SecretCipher(settings.claims_keys()), Person(audit_log.AT_START)
    file = console_folder() / settings.hooks
    try:
        imported = import_file(database, file, cipher=cipher, allowed=settings.hooks_allow, by=by, now=now)
    except InvalidSubscription as exc:
        raise SettingsError([Problem("TRACKING_HOOKS", str(each)) for each in exc.problems]) from exc
    except ClaimsUnavailable as exc:
        raise SettingsError([Problem("TRACKING_HOOKS", str(exc))]) from exc
    log.info("outgoing webhooks added=%d left=%d", len(imported.added), len(imported.left))
