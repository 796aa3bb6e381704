"""The command line: `tracking COMMAND`. Exit 0: done; 1: failed, refused or not found; 2: bad usage.

Holds no rule. Here commands get their names and their order, and errors become sentences and exit codes. Each command
reads its arguments, asks the other rooms, and prints through `output`: tables for people, `--json` for machines.
"""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tracking.app.cli import maintenance, orders, output, servers
from tracking.errors import SettingsError, TrackingError, explain


class _Commands(TyperGroup):
    """Turns expected errors into a sentence and an exit code; any other is a fault of ours."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TrackingError as exc:
            output.print_stderr(*explain(exc).problems)
            raise typer.Exit(2 if isinstance(exc, SettingsError) else 1) from exc


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("worker", servers.worker_command),
    ("sandbox", servers.sandbox_command),
    ("submit", orders.submit_command),
    ("order", orders.order_command),
    ("why", orders.why_command),
    ("replan", maintenance.replan_command),
    ("orders", orders.orders_command),
    ("events", orders.events_command),
    ("export", orders.export_command),
    ("seed", maintenance.seed_command),
    ("verify", maintenance.verify_command),
    ("backup", maintenance.backup_command),
    ("restored", maintenance.restored_command),
    ("erase", maintenance.erase_command),
    ("migrate", maintenance.migrate_command),
)
for _name, _command in _COMMANDS:
    app.command(_name)(_command)


def main() -> None:
    """The entry point of `tracking` and of `python -m tracking`."""
    app(prog_name="tracking")


@app.callback()
def configure(*, verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr.")] = False) -> None:
    """Fulfillment Tracking: where every order stands, what proves it and what to do next."""
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=form)
    # Its lines hold whole addresses, and ours may hold an order's secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
