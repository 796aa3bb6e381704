"""Checks alerts: can the addresses of their services be used, and does anything go out at all. Sends nothing."""

from collections.abc import Iterator
from pathlib import Path

from tracking.alerting.services import load_services
from tracking.app.checks.results import CheckResult, Outcome
from tracking.orders.wording import count
from tracking.settings.values import Settings

NAME = "alerts"


def check_alerts(settings: Settings, folder: Path) -> Iterator[CheckResult]:
    """Check the setting. Raises SettingsError where the library is missing or an address cannot be used."""
    services = load_services(settings.alerts, settings.console_url, folder)
    if not services:
        yield CheckResult(NAME, Outcome.OK, "none are set up: nothing leaves the console")
        return
    names = ", ".join(service.name for service in services)
    yield CheckResult(
        NAME, Outcome.OK, f"{count(len(services), 'service')}: {names}; `tracking alerts test` tries them"
    )
    if settings.console_url is None:
        advice = "set TRACKING_CONSOLE_URL to where people reach the pages"
        yield CheckResult(NAME, Outcome.WARNING, "messages will have no links", advice)
