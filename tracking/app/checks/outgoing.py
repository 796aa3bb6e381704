"""Checks of what the console sends by itself: services of alerts, the file of outgoing webhooks. Sends nothing."""

from collections.abc import Iterator
from pathlib import Path

from tracking.alerting.services import load_services
from tracking.app.checks.results import CheckResult, Outcome
from tracking.app.integration.outgoing import check_hooks
from tracking.orders.wording import count
from tracking.settings.values import Settings

NAME, HOOKS = "alerts", "outgoing webhooks"


def check_alerts(settings: Settings, folder: Path) -> Iterator[CheckResult]:
    """Check the setting. Raises SettingsError where the library is missing or an address cannot be used."""
    services = load_services(settings.alerts, settings.console_url, folder)
    if not services:
        yield CheckResult(NAME, Outcome.OK, "none are set up: nobody is notified who has no page open")
        return
    names = ", ".join(service.name for service in services)
    yield CheckResult(
        NAME, Outcome.OK, f"{count(len(services), 'service')}: {names}; `tracking alerts test` tries them"
    )
    if settings.console_url is None:
        advice = "set TRACKING_CONSOLE_URL to where people reach the pages"
        yield CheckResult(NAME, Outcome.WARNING, "messages will have no links", advice)


def check_outgoing(settings: Settings, _folder: Path) -> Iterator[CheckResult]:
    """Check the file of subscriptions. Raises SettingsError where something in it cannot be used."""
    if settings.hooks is None:
        yield CheckResult(HOOKS, Outcome.OK, "those of the database; TRACKING_HOOKS names no file of more")
    else:
        named = count(check_hooks(settings), "subscription")
        yield CheckResult(HOOKS, Outcome.OK, f"{named} in {settings.hooks} can be used, and those of the database")
