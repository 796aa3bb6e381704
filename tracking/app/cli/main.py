"""The command line: `tracking COMMAND`. Exit 0: done; 1: failed, refused or not found; 2: bad usage."""

import errno
import functools
import importlib
import os
import sys
from collections import UserDict
from importlib import metadata
from typing import Annotated, Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup

from tracking.app.cli import output
from tracking.errors import SettingsError, StoreBusy, TrackingError, explain
from tracking.startup import garbage_collection_paused


class _Command(NamedTuple):
    """What the list of commands says of one, in a line that is not cut off; its module in this room; what is there."""

    summary: str
    module: str
    name: str  # of its function, or of the group of commands below it


# Each is imported once it is called for: to import all takes several times as long as most commands run.
COMMANDS = {
    "check": _Command("Check settings, database, provider and addresses first.", "starting.check", "check_command"),
    "console": _Command(
        "Start the console: pages and all the work beside them.", "starting.console", "console_command"
    ),
    "worker": _Command("Run webhook receiver, poller and sender, without pages.", "servers", "worker_command"),
    "sandbox": _Command("Run the simulated provider over HTTP.", "servers", "sandbox_command"),
    "submit": _Command("Submit the orders of a .json or .csv file.", "files.imports", "submit_command"),
    "order": _Command("Show one order, as it is or was: state, lines, timeline.", "orders", "order_command"),
    "place-anew": _Command("Place an order again under a new PO number.", "orders", "place_anew_command"),
    "why": _Command("Show why an order is polled when it is.", "orders", "why_command"),
    "replan": _Command("Replay the history under another polling plan.", "maintenance", "replan_command"),
    "orders": _Command("List orders, newest first.", "orders", "orders_command"),
    "events": _Command("List the event log, newest first.", "orders", "events_command"),
    "export": _Command("Export orders, lines, events or deliveries to a file.", "files.export", "export_command"),
    "imports": _Command("List, show, export or discard imported files.", "files.imports", "imports_command"),
    "bulk": _Command("Do one act on all matching orders, as a job.", "jobs", "bulk_command"),
    "jobs": _Command("List, show, stop, resume or export jobs.", "jobs", "jobs_command"),
    "evidence": _Command("Make the evidence file of an order.", "evidence", "evidence_command"),
    "verify-evidence": _Command(
        "Verify an evidence file, without any database.", "evidence", "verify_evidence_command"
    ),
    "seed": _Command("Fill an empty database with made-up history.", "maintenance", "seed_command"),
    "verify": _Command("Recompute states, counters and hashes from the log.", "maintenance", "verify_command"),
    "backup": _Command("Copy the database while it is in use (SQLite).", "maintenance", "backup_command"),
    "restored": _Command("Mark the database as restored from a backup.", "maintenance", "restored_command"),
    "erase": _Command("Erase a recipient; the event log stays verifiable.", "maintenance", "erase_command"),
    "migrate": _Command("Migrate the database to this version's schema.", "maintenance", "migrate_command"),
    "archive": _Command("Move the logs of old orders into Parquet files.", "retention.archive", "archive_command"),
    "verify-archive": _Command("Verify what was archived.", "retention.archive", "verify_archive_command"),
    "contract": _Command("List what the provider's API was seen to use.", "maintenance", "contract_command"),
    "audit": _Command("List what people did, newest first.", "team.audit", "audit_command"),
    "handover": _Command("Print what a shift hands on, as Markdown.", "team.handover", "handover_command"),
    "alerts": _Command("List and snooze alerts, try services, list the rules.", "alerting.alerts", "alerts"),
    "hooks": _Command("Outgoing webhooks: who is notified, what came of it.", "integration.hooks", "hooks_app"),
    "tokens": _Command("Tokens of the API: add one, list them, revoke one.", "integration.tokens", "tokens_group"),
}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
PASSED_ON = {"console": {"allow_extra_args": True, "ignore_unknown_options": True}}  # to Streamlit


class _CommandsByName(UserDict[str, Any]):
    """The commands by name, each imported as it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return load_command(name) if name in self.data else super().__getitem__(name)


class _Commands(TyperGroup):
    """Lists commands without importing any, and turns expected errors into a sentence and an exit code.

    Any other error is a fault of ours.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _CommandsByName(COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the library calls it
        """Name all commands, in the order in which people meet them."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the library calls it
        """List the commands with what each does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

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


@functools.cache
def load_command(name: str) -> Any:
    """Import one of COMMANDS: what the library makes of its function, or of the group of commands below it."""
    _, module, there = COMMANDS[name]
    with garbage_collection_paused():
        command = getattr(importlib.import_module(f"tracking.app.cli.{module}"), there)
    if isinstance(command, typer.Typer):
        return typer.main.get_group(command)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, context_settings=PASSED_ON.get(name))(command)
    return typer.main.get_command(alone)


def main() -> None:
    """The entry point of `tracking` and of `python -m tracking`."""
    try:
        app(prog_name="tracking")
    except OSError as exc:
        if exc.errno not in _NO_ROOM or exc.filename is not None:
            raise
        output.print_stderr(f"what this command prints cannot be written ({exc.strerror})")
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - else it fails again as the process ends
        sys.exit(1)


def _print_version(asked: bool) -> None:
    """Print this version, and the SQLite with which it keeps a database."""
    if not asked:
        return
    from tracking.storage.sqlite import driver, journal  # noqa: PLC0415 - what loads SQLite is there for this alone

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
