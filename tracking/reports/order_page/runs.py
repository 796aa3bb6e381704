"""Merges runs of similar events into one row of a timeline: equal polls, duplicate webhooks. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tracking.orders.model import FULFILLED_LINE, condense_numbers, expand_numbers
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import TimelineEntry, clock, count, plain

LONGEST_NUMBERS = 40
"""Letters of line numbers that a sentence holds; more of them are counted."""


def merge_repeats(events: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """Merge each run of polls that changed no more than lines, or of repeated webhook calls, into one entry."""
    runs = [list(run) for _, run in groupby(events, _what_repeats)]
    return [_described_run(run) if len(run) > 1 else run[0] for run in runs]


def _what_repeats(entry: TimelineEntry) -> object:
    """Entries with equal ones in a row are a run; most entries equal none but themselves."""
    if entry.kind in {EventKind.WEBHOOK_REPEATED, EventKind.NOT_FOUND}:
        return entry.kind
    if entry.kind == EventKind.STILL_OPEN and "state" not in entry.changes and "attention" not in entry.changes:
        return entry.kind, entry.detail.get("status"), entry.detail.get("incomplete")
    return entry


def _described_run(run: Sequence[TimelineEntry]) -> TimelineEntry:
    first, last = run[0], run[-1]
    when = f"{clock(first.at, last.at)} to {clock(last.at, first.at)}"
    changed = [change for entry in run for change in _moves(entry)]
    match first.kind:
        case EventKind.STILL_OPEN if changed:
            moved = [entry for entry in run if _moves(entry)]
            text = (
                f"{_lines_text(changed)} {_span(moved)} ({count(len(run), 'poll')}, all {first.detail.get('status')})"
            )
        case EventKind.STILL_OPEN:
            short = " but not all of it there" if first.detail.get("incomplete") else ""
            text = f"{len(run):,} polls, all {first.detail.get('status')}{short} ({when})"
        case EventKind.NOT_FOUND:
            text = f"{len(run):,} polls, the provider did not know the order ({when})"
        case _:
            text = f"{len(run):,} duplicate webhooks, ignored ({when})"
    return replace(
        first, until=last.at, learned_at=last.learned_at, count=len(run), text=plain(text), line_changes=changed
    )


def _moves(entry: TimelineEntry) -> list[Mapping[str, Any]]:
    """The changes of lines that people are told of: their status, and whether their claim data has come."""
    return [change for change in entry.line_changes if "status" in change or "claims" in change]


def _span(entries: Sequence[TimelineEntry]) -> str:
    first, last = entries[0].at, entries[-1].at
    if len(entries) == 1:
        return f"at {clock(first, last)}"
    return f"between {clock(first, last)} and {clock(last, first)}"


def _lines_text(changes: Iterable[Mapping[str, Any]]) -> str:
    """What became of which lines: "Lines 1 to 291 fulfilled, line 300 Cancelled"."""
    reached: dict[int, str] = {}
    for change in changes:
        for number in expand_numbers(str(change["numbers"])):
            status = str(change.get("status") or reached.get(number) or "")
            reached[number] = "fulfilled" if status in FULFILLED_LINE else status or "with new claim data"
    by_status: dict[str, list[int]] = {}
    for number, status in sorted(reached.items()):
        by_status.setdefault(status, []).append(number)
    texts = [f"{_numbers_text(numbers)} {status}" for status, numbers in by_status.items()]
    text = ", ".join(texts)
    return text[0].upper() + text[1:]


def _numbers_text(numbers: Sequence[int]) -> str:
    text = condense_numbers(numbers)
    if text.isdigit():
        return f"line {text}"
    if len(text) > LONGEST_NUMBERS:
        return count(len(numbers), "line")
    return f"lines {text.replace('-', ' to ').replace(',', ', ')}"
