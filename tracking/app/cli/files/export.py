"""Command that writes what is known of many orders to a file: export."""

from pathlib import Path
from typing import Annotated

import typer

from tracking.app.cli import filter_options, options
from tracking.app.cli.context import load_settings, open_store
from tracking.app.cli.files.recording import record_export
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.exports.writing import EXPORTS, write_export
from tracking.reports.order_list.filters import Filters

EXPORT_FORMS = ("csv", "parquet", "jsonl")


@filter_options.takes_filters
def export_command(
    file: Annotated[
        Path,
        typer.Argument(
            dir_okay=False,
            help="The file: .csv, .parquet or .jsonl; -: stdout.",
            metavar="FILE",
        ),
    ],
    *,
    filters: Filters,
    what: Annotated[
        str,
        typer.Option(
            "--what",
            parser=options.one_of(tuple(EXPORTS)),
            metavar="WHAT",
            help="orders (as they are), or of all of these the lines, events or deliveries of webhooks: one a row.",
        ),
    ] = "orders",
    chosen: options.FormatOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Export all matching orders to a file, or their lines, events or deliveries."""
    form = options.file_format(file, EXPORT_FORMS, chosen)
    loaded = load_settings()
    store = open_store(loaded)
    options.say_replaced(file)
    with options.file_to_write(file) as handle:
        count = write_export(store, filters, utc_now(), form=form, file=handle, what=what)
        # Before the file has its name: nothing is taken along that is not on record.
        detail = {"filters": filters, "form": form, "rows": count}
        record_export(store, loaded, EXPORTS[what].name, **detail)
    line = f"{wording.count(count, EXPORTS[what].noun)} written to {options.place_of(file)}"
    options.print_written(file, {"file": str(file), what: count}, line, as_json=as_json)
