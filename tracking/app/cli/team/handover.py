"""Command handover: what one shift hands on to the next."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from tracking.app.cli import options, output
from tracking.app.cli.context import open_store
from tracking.orders.observations import utc_now
from tracking.reports.team import handover, handover_wording


def handover_command(
    *,
    since: Annotated[
        datetime | None,
        options.time_option(
            "Start: 2026-01-31T09:00 (UTC), or 8h for eight hours ago, which is usual; at most 31 days."
        ),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="URL", help="Address of the pages, so that each line leads to them.")
    ] = "",
    as_json: options.JsonFlag = False,
) -> None:
    """Print what a shift hands on as Markdown: what is open, was decided, came and ended, and what was down."""
    now = utc_now()
    if since is not None and since >= now:
        raise typer.BadParameter("that time is in the future", param_hint="--since")
    handed = handover.handover(open_store(), since or now - handover.USUAL_SPAN, now)
    if not as_json:
        output.print_stdout(*handover_wording.markdown(handed, "UTC", base).splitlines())
        return
    parts = {part.title: [asdict(line) for line in part.lines] for part in handover_wording.sections(handed)}
    output.print_json({"since": handed.since, "until": handed.until, "sections": parts})
