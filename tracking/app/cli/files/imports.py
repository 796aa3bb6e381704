"""Commands about imported files: submit and imports."""

import codecs
import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from tracking.app.cli import options, output
from tracking.app.cli.answers import orders as answers
from tracking.app.cli.context import enforce_approvals, load_settings, open_store, print_store
from tracking.app.cli.files.recording import record_export
from tracking.app.cli.orders import say_without_loop
from tracking.errors import NoStore
from tracking.orders import wording
from tracking.orders.model import is_open
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import state_label
from tracking.provider.json_fields import storable
from tracking.reports import amounts, health
from tracking.reports.team import imports as import_reports
from tracking.settings.values import Settings
from tracking.storage import database
from tracking.storage.database import Database
from tracking.submissions import catalog, csv_rows, results
from tracking.submissions.files import CheckedFile, read_csv, read_json
from tracking.submissions.results import OrderStatus
from tracking.submissions.submit import Receipt
from tracking.team.imports.discarding import discard
from tracking.team.imports.handing_in import submit_file


def submit_command(
    file: options.FileToRead,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and send nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Order rows again that were in an earlier file.")] = False,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait until all orders are complete.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(parser=storable, metavar="NAME", help="Who submits; default: you.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Submit orders: .json holds one request or a list of them, .csv one line item a row."""
    data, form = _content(file)
    loaded = load_settings()
    print_store(loaded.database_url)
    existing = _store_to_check_with(loaded)
    name = f"stdin.{form}" if file == options.STREAM else storable(file.name)
    checked = _read(data, name, form, existing, loaded.order_lines)
    if checked.problems or dry_run:
        values = catalog.face_values(checked.requests, catalog.load_catalog(existing) if existing else None)
        answers.print_check(checked, values, as_json=as_json)
        raise typer.Exit(1 if checked.problems else 0)
    if checked.similar_file and not again:
        again_text = "nothing was sent: give these rows PO numbers, or use --again to order them again"
        output.print_stderr(answers.repeats_text(checked), again_text)
        raise typer.Exit(1)
    answers.print_caveats(checked)
    by, store = options.acting_person(actor), database.connect(loaded.database_url)
    enforce_approvals(store, loaded)
    with output.progress("queueing") as progress:
        receipts = submit_file(store, checked, source=form, by=by, now=utc_now(), progress=progress)
    say_without_loop(store, "sender", "queued")
    statuses = _wait_until_done(store, receipts, wait)
    answers.print_receipts(receipts, statuses, _which_import(store, checked), as_json=as_json)
    unfinished = wait is not None and any(is_open(each.state) for each in statuses.values())
    raise typer.Exit(1 if unfinished or any(receipt.outcome == "rejected" for receipt in receipts) else 0)


def _which_import(store: Database, checked: CheckedFile) -> str:
    """Which import the file is, and since when where it was there before."""
    line = import_reports.find_import(store, checked.digest)
    if line is None:
        return "the file"
    before = f", there since {output.time_text(line.created_at)} UTC" if checked.first_submitted_at else ""
    return f"import {line.id}{before}"


def _store_to_check_with(loaded: Settings) -> Database | None:
    """Open the store for reading, None where there is none yet: a file that is only checked makes none."""
    with contextlib.suppress(NoStore):
        return database.connect(loaded.database_url, create=False)
    return None


def _content(file: Path) -> tuple[bytes, str]:
    """Read the file or stdin, up to one byte beyond the limit, and its format; stdin's is told by its beginning."""
    if file == options.STREAM:
        data = sys.stdin.buffer.read(csv_rows.MAX_BYTES + 1)
        return data, "json" if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in {b"[", b"{"} else "csv"
    form = options.file_format(file, ("json", "csv"))
    try:
        with file.open("rb") as handle:
            return handle.read(csv_rows.MAX_BYTES + 1), form
    except OSError as exc:
        raise typer.BadParameter(f"{file} cannot be read ({exc.strerror})") from exc


def _read(data: bytes, name: str, form: str, store: Database | None, chunk: int) -> CheckedFile:
    catalogue = catalog.load_catalog(store) if store else None
    if form == "json":
        return read_json(data, name, catalog=catalogue, database=store)
    return read_csv(data, name, catalog=catalogue, chunk=chunk, now=utc_now(), database=store)


def _wait_until_done(store: Database, receipts: Sequence[Receipt], seconds: float | None) -> Mapping[str, OrderStatus]:
    """Read the orders' status, once all are done or the time is over; at once where there is nothing to wait for."""
    po_numbers = [receipt.po_number for receipt in receipts if receipt.outcome != "rejected"]
    statuses = results.order_statuses(store, po_numbers)
    end = time.monotonic() + (seconds or 0)
    with output.progress("waiting") as progress:
        while waiting := [name for name, each in statuses.items() if is_open(each.state)]:
            progress(len(statuses) - len(waiting), len(statuses))
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.2 + len(waiting) / 5000))
            statuses |= results.order_statuses(store, waiting)
    return statuses


def imports_command(
    number: Annotated[int | None, typer.Argument(min=1, metavar="ID", help="One import; without it, all.")] = None,
    *,
    export: Annotated[Path | None, options.export_option("What came of each row: .csv, or -: stdout.")] = None,
    discards: Annotated[
        bool, typer.Option("--discard", help="Discard its orders that wait; the file submitted again has them wait.")
    ] = False,
    page: Annotated[int, typer.Option(min=1, help="Which page of the list.")] = 1,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """List the imported files, newest first; or show one, export what came of its rows, or discard those that wait."""
    if number is None and (export is not None or discards):
        raise typer.BadParameter("--export and --discard need the ID of an import")
    loaded = load_settings()
    store = open_store(loaded)
    if number is None:
        _list_imports(store, page, as_json=as_json)
        return
    if discards:
        discard(store, number, by=options.acting_person(actor), now=utc_now())
    view = import_reports.import_view(store, number, utc_now())
    if export is not None:
        _export_outcomes(store, loaded, view.line, export, as_json=as_json)
        return
    if view.open and (trouble := health.why_no_calls(health.health(store, utc_now()), utc_now())):
        output.print_stderr(f"when its orders are complete cannot be told: {trouble}")
        view = replace(view, fulfilment=replace(view.fulfilment, pace=None))
    output.print_answer(import_reports.import_record(view), *_import_lines(view), as_json=as_json)


def _list_imports(store: Database, page: int, *, as_json: bool) -> None:
    lines, more = import_reports.imports(store, page)
    if more:
        output.print_stderr(f"more with --page {page + 1}")
    if as_json:
        output.print_json([asdict(line) for line in lines])
        return
    rows = (
        (each.id, each.name, each.state_label, each.orders, each.placed, each.rejected, each.actor, each.created_at)
        for each in lines
    )
    columns = ("import", "file", "state", "orders", "settled", "rejected", "by", "uploaded (UTC)")
    output.print_table(columns, rows, right=("import", "orders", "settled", "rejected"))


def _import_lines(view: import_reports.ImportView) -> list[str]:
    line = view.line
    by = f" by {line.actor}" if line.actor else ""
    lines = [f"import {line.id}: {line.name}, uploaded at {output.time_text(line.created_at)} UTC{by}"]
    lines += [f"{line.state_label}, job {line.job_id}" if line.job_id else line.state_label]
    labels = import_reports.OUTCOME_LABELS
    lines += [f"{labels[outcome].lower()}: {count:,}" for outcome, count in view.outcomes.items()]
    lines += [f"{count:,} {state_label(state)}" for state, count in sorted(view.states.items())]
    worth = f"{wording.count(view.orders, 'order')} made, worth {amounts.worth(view.values)}"
    lines += [f"{view.undecided:,} in need of a decision", worth]
    if view.queued:
        lines.append(f"{view.queued:,} of them queued here, not sent yet; to stop the job does not take them back")
    if view.placing is not None:
        lines.append(f"at the pace so far all orders are made {view.placing.window} UTC")
    if view.fulfilment.pace is not None:
        lines.append(f"at the pace so far all are complete {view.fulfilment.pace.window} UTC")
    return [*lines, *(f"{group.orders:,} rejected: {group.text}" for group in view.rejections)]


def _export_outcomes(
    store: Database, loaded: Settings, line: import_reports.ImportLine, file: Path, *, as_json: bool
) -> None:
    options.file_format(file, ("csv",))
    rows = results.outcome_rows(store, line.id)
    options.say_replaced(file)
    with options.file_to_write(file) as handle:
        handle.write(results.spreadsheet_file(rows))
        record_export(store, loaded, "outcome of an import", job_id=line.job_id, form="csv", rows=len(rows))
    text = f"{wording.count(len(rows), 'row')} of import {line.id} written to {options.place_of(file)}"
    options.print_written(file, {"file": str(file), "rows": len(rows)}, text, as_json=as_json)
