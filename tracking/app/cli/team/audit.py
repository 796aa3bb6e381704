"""Command audit: lists what people did."""

from datetime import datetime
from typing import Annotated

import typer

from tracking.app.cli import options, output
from tracking.app.cli.context import open_store
from tracking.orders import wording
from tracking.provider.json_fields import storable
from tracking.reports.team import audit


def audit_command(
    *,
    who: Annotated[str, typer.Option("--person", parser=storable, metavar="NAME", help="Only what NAME did.")] = "",
    kind: Annotated[
        str | None, typer.Option("--kind", parser=options.one_of(audit.KINDS), metavar="KIND", help="Only one kind.")
    ] = None,
    order: Annotated[
        str, typer.Option("--order", parser=storable, metavar="PO_OR_ID", help="Only what was done to one order.")
    ] = "",
    since: Annotated[
        datetime | None, options.time_option("Start: 2026-01-31T09:00 (UTC), or 2h for two hours ago.")
    ] = None,
    until: Annotated[datetime | None, options.time_option("End, not included; written as the start.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number, newest first.")] = 100,
    as_json: options.JsonFlag = False,
) -> None:
    """List the audit log: who did, exported, searched for and revealed what, newest first."""
    filters = audit.AuditFilters(who, kind or "", order, since, until)
    store = open_store()
    page = audit.entries(store, filters, limit=limit)
    if as_json:
        output.print_json([audit.record(entry) for entry in page.entries])
        return
    meanings = audit.stored_meanings(store, page.entries[: audit.EXPORT_CHUNK])
    rows = (
        (entry.at, wording.person(entry.who), "signed in" if entry.signed_in else "as given",
         ": ".join(filter(None, (entry.text, meanings.get(entry.seq)))), entry.po_number, entry.job_id)
        for entry in page.entries
    )  # fmt: skip
    output.print_table(("time (UTC)", "who", "name", "what", "PO number", "job"), rows)
    if page.next_below is not None:
        output.print_stderr(f"there are more: --limit beyond {limit}")
