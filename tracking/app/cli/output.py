"""Output of the command line: print tables and sentences for people, JSON for machines, a progress bar.

Progress and errors go to stderr, so that stdout holds the answer alone. Everything shown comes from elsewhere, so
nothing in it is taken for markup or obeyed by a terminal.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from tracking.orders import wording
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import TimelineEntry, count
from tracking.reports import amounts
from tracking.reports.as_of.order import OrderAsOf
from tracking.reports.order_page import verdicts
from tracking.reports.order_page.rows import REMOVED
from tracking.startup import pd
from tracking.submissions.erasure import Erasure
from tracking.submissions.files import CheckedFile
from tracking.submissions.results import OrderStatus
from tracking.submissions.submit import Receipt

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_PIPE = 160
_T = TypeVar("_T")


def open_console(*, stderr: bool = False) -> Console:
    """Open a console that takes nothing for markup: what it prints comes from elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - only what shows a table waits for it; a worker shows none

    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_PIPE
    return console


def is_interactive() -> bool:
    """Tell whether a person is at the terminal who can be asked."""
    return sys.stdin.isatty()


def print_stderr(*lines: str) -> None:
    """Print lines for people on stderr."""
    for line in lines:
        typer.echo(_printable(line), err=True)


def first_of(rows: Sequence[_T], limit: int) -> Sequence[_T]:
    """The first so many of rows of which one more was read; where there is one, that is said on stderr."""
    if len(rows) > limit:
        print_stderr(f"there are more: --limit beyond {limit}")
    return rows[:limit]


def print_stdout(*lines: str) -> None:
    """Print lines for people on stdout."""
    for line in lines:
        typer.echo(_printable(line))


def print_json(value: Any) -> None:
    """Print JSON on stdout, for machines; times in UTC, lengths of time in seconds."""
    typer.echo(json.dumps(value, indent=2, default=_json_default))


def _json_default(value: Any) -> str | float:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_answer(record: Any, *lines: str, as_json: bool) -> None:
    """Print the record for machines, or the lines for people."""
    if as_json:
        print_json(record)
    else:
        print_stdout(*lines)


def _printable(text: str) -> str:
    """Replace what a terminal would obey by spaces."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def print_table(columns: Sequence[str], rows: Iterable[Iterable[Any]], *, right: Sequence[str] = ()) -> None:
    """Print a table of anything that has a text, an empty cell for None; columns in `right` are set to the right."""
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_printable(_cell_text(cell)) for cell in row))
    open_console().print(table)


def _cell_text(cell: Any) -> str:
    # What is missing is None in a row of the store, and NaN, NaT or NA in a frame, whose NaT is a datetime besides.
    if cell is None or (not isinstance(cell, str) and pd.isna(cell)):
        return ""
    return time_text(cell) if isinstance(cell, datetime) else str(cell)


def time_text(at: datetime) -> str:
    """Format a time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while a person watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    console = open_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_check(checked: CheckedFile, values: Mapping[str, int], *, as_json: bool) -> None:
    """Print the content of a file, or its problems, when nothing is sent; `values` are its amounts by currency."""
    if as_json:
        counts = {"orders": len(checked.requests), "rows": checked.rows, "units": checked.units}
        value: dict[str, Any] = {"value": amounts.one_amount(values), "values": amounts.decimal_texts(values)}
        value |= {"seen_before": checked.first_submitted_at, "not_checked": checked.unchecked}
        problems = [{"where": problem.where, "message": problem.message} for problem in checked.problems]
        print_json({**counts, **value, "problems": problems})
        return
    print_caveats(checked)
    if checked.problems:
        print_stderr(*map(str, checked.groups), "Nothing was sent. Fix these before sending.")
        return
    size = f"{count(len(checked.requests), 'order')}, {count(checked.units, 'card')}, {amounts.worth(values)} in all"
    if at := checked.first_submitted_at:
        size += f"; this file was uploaded before, on {time_text(at)} UTC"
    if checked.similar_file:
        print_stderr(repeats_text(checked))
    print_stdout(f"{checked.name}: {size}", "nothing was sent: this was a dry run")


def print_caveats(checked: CheckedFile) -> None:
    """Say on stderr what could not be checked."""
    print_stderr(*checked.unchecked)


def repeats_text(checked: CheckedFile) -> str:
    """Say which rows without a PONumber were in another file too; empty where none were."""
    if checked.similar_file is None:
        return ""
    when, same = time_text(checked.similar_file.at), wording.count(checked.similar_file.rows, "row")
    return f"{same} without a PO number also in {checked.similar_file.name}, uploaded on {when} UTC"


RECEIPTS_LISTED = 20
_RESULTS = {
    "queued": "queued to be sent",
    "exists": "there already",
    "rejected": "rejected",
    "waiting": "waiting in the import, which was stopped",
}


def print_receipts(
    receipts: Sequence[Receipt], statuses: Mapping[str, OrderStatus], of_import: str, *, as_json: bool
) -> None:
    """Print which import it is, how many came to what, and the first of them with their status now.

    Those with something to say, such as why they were rejected, come first. JSON holds all of them, one a record.
    """
    records = [_receipt_record(receipt, statuses.get(receipt.po_number)) for receipt in receipts]
    if as_json:
        print_json(records)
        return
    columns = {"po_number": "PO number", "outcome": "outcome", "state": "state", "provider_id": "provider ID"}
    columns |= {"completed_by": "completed by", "message": "message"}
    for record, receipt in zip(records, receipts, strict=True):
        record["state"] = record["state"] and state_label(record["state"])
        record["message"] = receipt.message or getattr(statuses.get(receipt.po_number), "message", None)
    records.sort(key=lambda record: (record["outcome"] not in {"rejected", "waiting"}, not record["message"]))
    print_table(tuple(columns.values()), ([record[name] for name in columns] for record in records[:RECEIPTS_LISTED]))
    if (more := len(records) - RECEIPTS_LISTED) > 0:
        print_stdout(f"and {count(more, 'more order')}; all of them: --json, or `tracking imports ID --export FILE`")
    by_result = Counter(receipt.outcome for receipt in receipts)
    results = (f"{by_result[outcome]:,} {words}" for outcome, words in _RESULTS.items() if by_result[outcome])
    print_stdout(f"{of_import}: {count(len(receipts), 'order')}, {', '.join(results)}")


def _receipt_record(receipt: Receipt, status: OrderStatus | None) -> dict[str, Any]:
    record = {"po_number": receipt.po_number, "outcome": receipt.outcome, "message": receipt.message}
    return record | {name: getattr(status, name, None) for name in ("state", "provider_id", "completed_by")}


def erasure_text(erasure: Erasure) -> str:
    """Say how much an erasure concerns."""
    kinds = (
        (erasure.claims, "claim"),
        (erasure.calls, "recorded call"),
        (erasure.drafts, "draft"),
        (erasure.jobs, "job"),
        (erasure.views, "saved view"),
        (erasure.files, "file name"),
    )
    extra = "".join(f", {count(number, noun)}" for number, noun in kinds if number)
    return f"{count(erasure.lines, 'line')} of {count(len(erasure.orders), 'order')}{extra}"


def print_erasure(erasure: Erasure, *, dry_run: bool, as_json: bool) -> None:
    """Print what was erased, or would be, and what had to stay; the recipient is not named."""
    if as_json:
        print_json({"dry_run": dry_run, **asdict(erasure)})
        return
    if erasure.anything:
        print_stdout(f"{'would be erased' if dry_run else 'erased'}: {erasure_text(erasure)}")
    elif not (erasure.refused or erasure.possible):
        gone = "; orders that are archived name nobody any more" if erasure.archives else ""
        print_stderr(f"no recipient matches: give the whole e-mail address, telephone number or name{gone}")
    wait = "is still being sent and was left unchanged: erase again once it is accepted or refused"
    print_stderr(*(f"{po_number} {wait}" for po_number in erasure.refused))
    unplaced = "waited in an import and named the recipient: it is not placed"
    print_stderr(*(f"{po_number} {unplaced}" for po_number in erasure.imports))
    stays = "also names the recipient in texts that stay: a note, a reference or a reason"
    print_stderr(*(f"{po_number} {stays}" for po_number in erasure.mentioned))
    assigned = "was assigned to the recipient as if to a colleague: that name stays in the logs"
    print_stderr(*(f"{po_number} {assigned}" for po_number in erasure.assigned))
    print_stderr(*(f"job {number} {assigned}" for number in erasure.assigned_jobs))
    for each in erasure.exported:
        what = "masked" if each.masked else "with recipients in full"
        made = f"{time_text(each.at)} UTC by {each.person}, {what}, SHA-256 {each.sha256}"
        print_stderr(f"{each.po_number}: an evidence file is out of reach: {made}")
    if erasure.archives:
        newest = f"{count(len(erasure.archives), 'archive')}, the newest {erasure.archives[-1]}"
        print_stderr(f"out of reach, without recipients but with what people wrote: {newest}")
    if erasure.possible:
        print_stderr(
            "possibly the same recipient, left unchanged; to erase one, use the spelling that its order shows:"
        )
    print_stderr(*(f"{each.po_number}: {each.recipient}, {each.why}" for each in erasure.possible))
    if erasure.unfinished:
        print_stderr(f"old copies may still be in the database files ({erasure.unfinished}): run erase again")


def print_backtest(backtest: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what really happened, what today's settings come to when they are replayed, and the other plans."""
    if as_json:
        print_json(backtest)
        return
    columns = ("calls/h", "mean, s", "p95, s", "longest, s")
    actual, names = backtest["really"], ("mean", "p95", "longest")
    calls_an_hour = "not recorded" if actual["calls_an_hour"] is None else f"{actual['calls_an_hour']:,.1f}"
    rows = [["recorded", "", calls_an_hour, *(_with_range(actual[name]) for name in names)]]
    alternative = (
        [backtest["tried"] | {"policy": f"alternative: {backtest['tried']['policy']}"}] if backtest["tried"] else []
    )
    for point in [backtest["today"] | {"policy": "current, replayed"}, *alternative, *backtest["frontier"]]:
        figures = (f"{point[name]:,.1f}" for name in ("calls_an_hour", "mean"))
        bounds = (f"{math.ceil(point[name] * 10) / 10:,.1f}" for name in ("p95", "longest"))
        rows.append([point["policy"], point["setting"], *figures, *bounds])
    print_table(("plan", "setting", *columns), rows, right=columns)
    print_stdout("", *backtest["said"], "", *backtest["basis"])


def _with_range(figure: Mapping[str, float]) -> str:
    least, most = math.floor(figure["least"] * 10) / 10, math.ceil(figure["most"] * 10) / 10
    return f"{figure['value']:,.1f} ({least:,.1f} to {most:,.1f})"


def print_order(view: verdicts.OrderView, rows: pd.DataFrame, entries: Iterable[TimelineEntry]) -> None:
    """Print one order: its verdict, as many of its lines as there are in `rows`, its timeline."""
    record = view.order
    provider_id = record.provider_id or "no provider ID yet"
    print_stdout(f"{record.po_number} · {provider_id} · {record.type} · {count(record.units, 'card')} · {view.worth}")
    statuses = (f"{name}: {text}" for name, text in view.statuses.items())
    decision = [view.decision] if view.decision else []
    print_stdout(view.verdict, *decision, *view.evidence, *statuses, "")
    columns = ["line", "product", "value", "quantity", "status", "recipient"]
    names = ["number", "product_id", *columns[2:]]
    print_table(columns, rows[names].astype(object).values, right=("line", "value", "quantity"))
    entries = list(entries)
    if rows.empty and any(entry.kind == REMOVED for entry in entries):
        print_stdout(f"{count(view.line_count, 'line')}, which left the database with their claim data")
    elif view.line_count > len(rows):
        print_stdout(f"and {count(view.line_count - len(rows), 'more line')}")
    print_stdout("")
    timeline = ((_time_span(entry), wording.source_label(entry.witness), entry.text) for entry in entries)
    print_table(("time (UTC)", "source", "event"), timeline)


def print_order_as_of(past: OrderAsOf, *, as_json: bool) -> None:
    """Print one order as it was known at a moment, and what is known otherwise today."""
    (then, today), when = past.verdicts, time_text(past.moment)
    differences = [asdict(each) for each in past.differences]
    if as_json:
        record = {"po_number": past.today.po_number, "as_of": past.moment, "then": then, "today": today}
        record |= {"events": past.events, "events_today": past.events_today, "differences": differences}
        print_json(record | {"lines": dict(past.lines), "lines_today": dict(past.lines_today)})
        return
    nothing = f"nothing was known of it; it was first heard of on {time_text(past.first_at)} UTC"
    print_stdout(f"{past.today.po_number} as known on {when} UTC: {then or nothing}", f"today: {today}")
    if differences:
        print_stdout("")
        print_table(("fact", "then", "today"), (each.values() for each in differences))
    if past.rows:
        print_stdout("")
        timeline = ((_time_span(entry), wording.source_label(entry.witness), entry.text) for entry in past.rows)
        print_table(("time (UTC)", "source", "event"), timeline)


def _time_span(entry: TimelineEntry) -> str:
    if entry.ahead:
        return f"next: {time_text(entry.at)}"
    return time_text(entry.at) + (f" to {entry.until.astimezone(UTC):%H:%M:%S}" if entry.count != 1 else "")
