"""What commands about orders print: a checked file, receipts, one order, and an order as it was known at a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

from tracking.app.cli.output import print_json, print_stderr, print_stdout, print_table, time_text
from tracking.orders import wording
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import TimelineEntry, count
from tracking.reports import amounts
from tracking.reports.order_page.rows import REMOVED

if TYPE_CHECKING:
    from tracking.reports.as_of.order import OrderAsOf
    from tracking.reports.order_page.verdicts import OrderView
    from tracking.startup import pd
    from tracking.submissions.files import CheckedFile
    from tracking.submissions.results import OrderStatus
    from tracking.submissions.submit import Receipt

RECEIPTS_LISTED = 20
_RESULTS = {
    "queued": "queued to be sent",
    "exists": "there already",
    "rejected": "rejected",
    "waiting": "waiting in the import, which was stopped",
}


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


def print_order(view: OrderView, rows: pd.DataFrame, entries: Iterable[TimelineEntry]) -> None:
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
