"""The command check: what would keep the console from working, before anything starts. It changes nothing."""

from collections.abc import Iterator
from dataclasses import asdict

import typer

from tracking.app.checks.registry import results_without_settings, run_checks
from tracking.app.checks.results import CheckResult, Outcome
from tracking.app.cli import output
from tracking.app.cli.context import read_settings
from tracking.app.cli.options import JsonFlag
from tracking.app.folders import console_folder
from tracking.errors import SettingsError


def check_command(*, as_json: JsonFlag = False) -> None:
    """Check settings, database, provider and addresses before a start; changes nothing. Exit 2: wrong settings."""
    try:
        loaded, doubts = read_settings()
    except SettingsError as exc:
        _print(list(results_without_settings(exc.problems)), as_json=as_json)
        raise typer.Exit(2) from None

    def results() -> Iterator[CheckResult]:
        warnings = [CheckResult("settings", Outcome.WARNING, doubt) for doubt in doubts]
        yield from warnings or [CheckResult("settings", Outcome.OK, "can be used")]
        yield from run_checks(loaded, console_folder())

    every = list(results())
    _print(every, as_json=as_json)
    if any(result.outcome is Outcome.FAILURE for result in every):
        raise typer.Exit(1)


def _print(results: list[CheckResult], *, as_json: bool) -> None:
    if as_json:
        output.print_json([asdict(result) for result in results])
        return
    rows = ((result.name, result.outcome, result.text, result.advice) for result in results)
    output.print_table(("check", "result", "why", "what to do"), rows)
