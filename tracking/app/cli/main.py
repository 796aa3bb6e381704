"""The command line: `tracking COMMAND`. Exit 0: done; 1: failed, refused or not found; 2: bad usage."""

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tracking.app.cli import evidence, jobs, maintenance, orders, output, servers
from tracking.app.cli.alerting.alerts import alerts
from tracking.app.cli.integration import hooks
from tracking.app.cli.integration.tokens import tokens_group
from tracking.app.cli.retention import archive
from tracking.app.cli.starting import check, console
from tracking.app.cli.team import audit, handover
from tracking.errors import SettingsError, StoreBusy, TrackingError, explain
from tracking.storage.sqlite import driver, journal


class _Commands(TyperGroup):
    """Turns expected errors into a sentence and an exit code; any other is a fault of ours."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TrackingError as exc:
            output.print_stderr(*explain(exc).problems)
            if isinstance(exc, StoreBusy):
                output.print_stderr("this is not retried: run the command again in a moment")
            raise typer.Exit(2 if isinstance(exc, SettingsError) else 1) from exc


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.check_command)
app.command("console", context_settings=console.PASSED_ON)(console.console_command)
for _command in (
    *(servers.worker_command, servers.sandbox_command),
    *(orders.submit_command, orders.order_command, orders.place_anew_command),
    *(orders.why_command, maintenance.replan_command),
    *(orders.orders_command, orders.events_command, orders.export_command, orders.imports_command),
    *(jobs.bulk_command, jobs.jobs_command),
    *(evidence.evidence_command, evidence.verify_evidence_command),
    *(maintenance.seed_command, maintenance.verify_command, maintenance.backup_command),
    *(maintenance.restored_command, maintenance.erase_command, maintenance.migrate_command),
    *(archive.archive_command, archive.verify_archive_command),
    maintenance.contract_command,
    audit.audit_command,
    handover.handover_command,
):
    app.command(_command.__name__.removesuffix("_command").replace("_", "-"))(_command)
app.add_typer(alerts, name="alerts")
app.add_typer(hooks.hooks_app, name="hooks")
app.add_typer(tokens_group, name="tokens")


def main() -> None:
    """The entry point of `tracking` and of `python -m tracking`."""
    app(prog_name="tracking")


def _print_version(asked: bool) -> None:
    """Print this version, and the SQLite with which it keeps a database."""
    if not asked:
        return
    output.print_stdout(f"fulfillment-tracking {metadata.version('fulfillment-tracking')}")
    log = "write-ahead log (WAL)" if journal.keeps_wal() else "rollback journal (DELETE)"
    output.print_stdout(f"{driver.description()}, {log}")
    raise typer.Exit


VersionFlag = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and that of SQLite."),
]


@app.callback()
def configure(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr.")] = False,
    version: VersionFlag = False,  # noqa: ARG001 - done by its callback
) -> None:
    """Fulfillment Tracking: the status of every order, the evidence for it, and what to do next."""
    if verbose:
        from tracking.app.telemetry import logs  # noqa: PLC0415 - brings its library, which other calls need not wait for

        logs.configure("info", "text")
