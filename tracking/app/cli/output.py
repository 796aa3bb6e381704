"""What the command line prints: tables and sentences for people, JSON for machines, a bar while it takes long.

Progress and errors go to stderr, so that stdout holds the answer alone. Everything shown comes from elsewhere, so
nothing in it is taken for markup or obeyed by a terminal. Reads no store and decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from tracking.orders import wording
from tracking.orders.wording import Told, amount, count
from tracking.reports import order
from tracking.startup import pd
from tracking.submissions.erasure import Erasure
from tracking.submissions.files import CheckedFile
from tracking.submissions.results import OrderStatus
from tracking.submissions.submit import Receipt

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_OF_A_PIPE = 160


def open_console(*, stderr: bool = False) -> Console:
    """A console that takes nothing for markup: what it shows comes from elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - only what shows a table waits for it; a worker shows none

    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    return console if console.is_terminal else Console(
        stderr=stderr, markup=False, highlight=False, emoji=False, width=WIDTH_OF_A_PIPE
    )  # fmt: skip


def is_watched() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty()


def say(*lines: str) -> None:
    """For people, on stderr."""
    for line in lines:
        typer.echo(_plain(line), err=True)


def show(*lines: str) -> None:
    """For people, on stdout."""
    for line in lines:
        typer.echo(_plain(line))


def show_json(value: Any) -> None:
    """For machines, on stdout; times in UTC."""
    typer.echo(json.dumps(value, indent=2, default=_jsonable))


def _jsonable(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def new_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table with these columns, those named in `right` set to the right."""
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def add_row(table: Table, *cells: Any) -> None:
    """Adds a row of anything that has a text; nothing for None."""
    table.add_row(
        *("" if cell is None else _plain(stamp(cell) if isinstance(cell, datetime) else str(cell)) for cell in cells)
    )


def stamp(moment: datetime) -> str:
    """The time in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while somebody watches."""
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = open_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def show_checked(checked: CheckedFile, *, as_json: bool) -> None:
    """What a file holds, or what is wrong with it, when nothing is sent."""
    if as_json:
        show_json(
            {
                "orders": len(checked.requests),
                "rows": checked.rows,
                "units": checked.units,
                "value": amount(checked.value_minor),
                "seen_before": checked.first_submitted_at,
                "problems": [{"where": problem.where, "message": problem.message} for problem in checked.problems],
            }
        )
        return
    if checked.problems:
        say(*(str(problem) for problem in checked.problems), "nothing was sent")
        return
    size = f"{len(checked.requests)} orders, {checked.units} cards, {amount(checked.value_minor)} in all"
    seen = (
        f"; this file was handed in before, on {stamp(checked.first_submitted_at)} UTC"
        if checked.first_submitted_at
        else ""
    )
    if checked.similar_file:
        say(alike(checked))
    show(f"{checked.name}: {size}{seen}", "nothing was sent: this was a dry run")


def alike(checked: CheckedFile) -> str:
    """Which rows without a PONumber were in another file too; empty where none were."""
    if checked.similar_file is None:
        return ""
    when, same = stamp(checked.similar_file.at), wording.count(checked.similar_file.rows, "row")
    return f"{same} without a PONumber found in {checked.similar_file.name} too, handed in on {when} UTC"


def show_receipts(receipts: Sequence[Receipt], standing: Mapping[str, OrderStatus], *, as_json: bool) -> None:
    """What became of each request, and where its order stands now."""
    if as_json:
        show_json([_receipt_record(receipt, standing.get(receipt.po_number)) for receipt in receipts])
        return
    table = new_table("PONumber", "outcome", "state", "provider's id", "completed by", "message")
    for receipt in receipts:
        now = standing.get(receipt.po_number)
        cells = (now.state, now.provider_id, now.completed_by, receipt.message or now.attention) if now else ("",) * 4
        add_row(table, receipt.po_number, receipt.outcome, *(cells if now else ("", "", "", receipt.message)))
    open_console().print(table)


def _receipt_record(receipt: Receipt, now: OrderStatus | None) -> dict[str, Any]:
    return {
        "po_number": receipt.po_number,
        "outcome": receipt.outcome,
        "message": receipt.message,
        "state": now.state if now else None,
        "provider_id": now.provider_id if now else None,
        "completed_by": now.completed_by if now else None,
    }


def erasure_text(done: Erasure) -> str:
    """How much an erasure concerns."""
    kinds = ((done.claims, "claim"), (done.calls, "recorded call"))
    beside = "".join(f", {count(number, noun)}" for number, noun in kinds if number)
    return f"{count(done.lines, 'line')} of {count(len(done.orders), 'order')}{beside}"


def show_erasure(done: Erasure, *, dry_run: bool, as_json: bool) -> None:
    """What was erased, or would be, and what had to stay; the recipient is not named."""
    if as_json:
        show_json({"dry_run": dry_run, **asdict(done)})
        return
    if done.orders or done.calls:
        show(f"{'would be erased' if dry_run else 'erased'}: {erasure_text(done)}")
    elif not done.refused:
        say("nobody was found: name the whole e-mail address, telephone number or name")
    wait = "is still on its way to the provider and was left as it is: erase again once it was taken or refused"
    say(*(f"{po_number} {wait}" for po_number in done.refused))
    stays = "also names the recipient in words that stay: a note, a reference, or what was said of the order"
    say(*(f"{po_number} {stays}" for po_number in done.mentioned))
    if done.unfinished:
        say(f"old copies may still lie in the store's files ({done.unfinished}): run erase again")


def show_replay(told: Mapping[str, Any], *, as_json: bool) -> None:
    """What really happened, what today's settings come to when they are replayed, and the other plans."""
    if as_json:
        show_json(told)
        return
    columns = ("calls an hour", "mean, s", "95 of 100 within, s", "longest, s")
    table = new_table("plan", "setting", *columns, right=columns)
    really, names = told["really"], ("mean", "p95", "longest")
    made = "not on record" if really["calls_an_hour"] is None else f"{really['calls_an_hour']:,.1f}"
    add_row(table, "what really happened", "", made, *(_ranged(really[name]) for name in names))
    tried = [told["tried"] | {"policy": f"tried: {told['tried']['policy']}"}] if told["tried"] else []
    for point in [told["today"] | {"policy": "today, replayed"}, *tried, *told["frontier"]]:
        figures = (f"{point[name]:,.1f}" for name in ("calls_an_hour", *names))
        add_row(table, point["policy"], point["setting"], *figures)
    open_console().print(table)
    show("", *told["said"], "", *told["basis"])


def _ranged(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:,.1f} ({figure['least']:,.1f} to {figure['most']:,.1f})"


def show_order(view: order.OrderView, rows: pd.DataFrame, story: Iterable[Told]) -> None:
    """One order: its verdict, as many of its lines as there are in `rows`, its timeline."""
    known = view.order
    value = wording.money(known.value_minor, known.currency)
    called = known.provider_id or "no provider's id yet"
    show(f"{known.po_number} · {called} · {known.type} · {known.units} cards · {value}")
    show(view.verdict, *view.evidence, *(f"{name}: {text}" for name, text in view.statuses.labelled().items()), "")
    lines = new_table(
        "line", "product", "value", "quantity", "status", "recipient", right=("line", "value", "quantity")
    )
    for row in rows.to_dict("records"):
        add_row(lines, *(row[name] for name in ("number", "product_id", "value", "quantity", "status", "recipient")))
    open_console().print(lines)
    if view.line_count > len(rows):
        show(f"and {view.line_count - len(rows)} more lines")
    show("")
    timeline = new_table("when (UTC)", "witness", "what")
    for told in story:
        add_row(timeline, _span(told), told.witness, told.text)
    open_console().print(timeline)


def _span(told: Told) -> str:
    if told.ahead:
        return f"next: {stamp(told.at)}"
    return stamp(told.at) if told.count == 1 else f"{stamp(told.at)} to {told.until.astimezone(UTC):%H:%M:%S}"
