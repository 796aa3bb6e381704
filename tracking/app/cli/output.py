"""Output of the command line: print tables and sentences for people, JSON for machines, a progress bar.

Progress and errors go to stderr, so that stdout holds the answer alone. Everything shown comes from elsewhere, so
nothing in it is taken for markup or obeyed by a terminal.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from tracking.orders.wording import count
from tracking.startup import pd

if TYPE_CHECKING:
    from rich.console import Console

    from tracking.submissions.erasure import Erasure

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
    # What is missing is None in a row of the store, and NaN, NaT or NA in a frame, whose NaT is a datetime besides:
    # pandas is asked only about what no row of the store holds, as importing it takes longer than most commands.
    if cell is None or (not isinstance(cell, str | int) and type(cell) is not datetime and pd.isna(cell)):
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
