"""Makes the notifier of a process, and the name under which it sends, from the settings."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tracking.alerting.messages import Origin
from tracking.alerting.notifier import Notifier
from tracking.alerting.services import load_services
from tracking.settings.values import Settings
from tracking.storage.database import Database


def origin_of(settings: Settings, environment: str) -> Origin:
    """The sender as messages name it: the environment, unless it is the live one (""), and the console's address."""
    return Origin(f"[{environment}] " if environment else "", settings.console_url)


def make_notifier(
    settings: Settings,
    database: Database,
    *,
    clock: Callable[[], datetime],
    owner: str,
    environment: str,
    folder: Path = Path(),
) -> Notifier:
    """Make the notifier; one without services where TRACKING_ALERTS is unset. Raises SettingsError.

    A relative path in the setting begins in the folder.
    """
    return Notifier(
        database,
        load_services(settings.alerts, settings.console_url, folder),
        clock=clock,
        owner=owner,
        off=settings.alerts_off,
        quiet=settings.alerts_quiet,
        origin=origin_of(settings, environment),
    )
