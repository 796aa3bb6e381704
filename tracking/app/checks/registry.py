"""Registry: all checks in the order in which they run. A new one is a function in a module here and a line below."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tracking.app.checks.api import check_api
from tracking.app.checks.console import check_console
from tracking.app.checks.outgoing import check_alerts, check_outgoing
from tracking.app.checks.provider import check_provider
from tracking.app.checks.results import Check, CheckResult, Outcome
from tracking.app.checks.secret_files import check_secrets
from tracking.app.checks.store import check_store
from tracking.app.checks.webhooks import check_webhooks
from tracking.errors import Problem, TrackingError, explain
from tracking.settings.values import Settings

CHECKS: Mapping[str, Check] = {
    "database": check_store,
    "secrets": check_secrets,
    "provider": check_provider,
    "webhooks": check_webhooks,
    "console": check_console,
    "API": check_api,
    "alerts": check_alerts,
    "outgoing webhooks": check_outgoing,
}


def run_checks(settings: Settings, folder: Path) -> Iterator[CheckResult]:
    """Make every check, each only after the one before was told. `folder` is that of the console."""
    for name, check in CHECKS.items():
        try:
            yield from check(settings, folder)
        except TrackingError as exc:
            for problem in explain(exc).problems:
                yield CheckResult(name, Outcome.FAILURE, problem)


def results_without_settings(problems: tuple[Problem, ...]) -> Iterator[CheckResult]:
    """The results where the settings are wrong: all that is wrong with them, and of the rest nothing is known."""
    for problem in problems:
        yield CheckResult("settings", Outcome.FAILURE, str(problem))
    for name in CHECKS:
        yield CheckResult(name, Outcome.UNKNOWN, "not checked, as the settings are wrong")
