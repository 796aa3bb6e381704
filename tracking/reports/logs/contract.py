"""The contract log: what the provider was seen to use, which of it is documented, and what is new or gone. Bounded."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracking.orders.wording import count
from tracking.provider.http.contract import is_documented
from tracking.provider.http.contract_changes import NEW, changes, sighting_of
from tracking.reports.exports.columns import Kind, columns, names_of
from tracking.reports.exports.forms import write_rows
from tracking.storage.database import Database
from tracking.storage.team import sightings as stored
from tracking.storage.team.sightings import LEARNING_ANSWERS, Learning

KINDS = {
    "status": "Status code",
    "content type": "Content type",
    "field": "Field",
    "type": "Type",
    "word": "Word",
    "beyond": "Counted only",
}
EXPORTED = columns(
    endpoint=Kind.TEXT,
    kind=Kind.TEXT,
    place=Kind.TEXT,
    value=Kind.TEXT,
    documented=Kind.FLAG,
    change=Kind.TEXT,
    first_at=Kind.TIME,
    last_at=Kind.TIME,
    times=Kind.WHOLE,
    example=Kind.TEXT,
)
EXPORT_COLUMNS = names_of(EXPORTED)
_NOUNS = {"field": "field", "type": "type", "word": "word", "status": "status code", "content type": "content type"}


@dataclass(frozen=True, slots=True)
class ContractChange:
    """What of one kind is new or gone at an endpoint, since a time; `text` says it with examples.

    `ids` are what is marked as read with it.
    """

    change: str
    at: datetime
    text: str
    number: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ContractState:
    """How far the baseline is learned, None before any answer, and the changes that nobody has marked as read."""

    learning: Learning | None
    changes: tuple[ContractChange, ...]


def contract_state(database: Database) -> ContractState:
    """Read what is new or gone, as it was judged within the last minute; one row of the database."""
    with database.read() as connection:
        return ContractState(stored.learning(connection), changes_in(stored.news(connection)))


def changes_in(groups: Iterable[Mapping[str, Any]]) -> tuple[ContractChange, ...]:
    """The stored groups in words."""
    return tuple(
        ContractChange(
            group["change"],
            datetime.fromisoformat(group["at"]),
            _sentence(group),
            group["number"],
            tuple(group["ids"]),
        )
        for group in groups
    )


def _sentence(group: Mapping[str, Any]) -> str:
    number, kind = group["number"], group["kind"]
    names = [_name(kind, *entry) for entry in group["named"]]
    more = f" and {number - len(names)} more" if number > len(names) else ""
    what = count(number, f"{'new ' if group['change'] == NEW else ''}{_NOUNS.get(kind, kind)}")
    verb = "in" if group["change"] == NEW else "gone from"
    return f"{what} {verb} {group['endpoint']}: {', '.join(names)}{more}"


def _name(kind: str, place: str, value: str, example: str | None) -> str:
    where = place or "the answer"
    match kind:
        case "field":
            return f"{where} (like {example})" if example else where
        case "type":
            return f"{where} as {value}" + (f" (like {example})" if example else "")
        case "word":
            return f"{where} = {value}"
    return value


def learning_text(learning: Learning | None) -> str | None:
    """Say how far the baseline is learned, in words without times; None once it is."""
    if learning is None:
        return "The provider has not answered yet."
    if learning.over_at is not None:
        return None
    return (
        f"Learning what the provider's answers usually look like, for a day and at least {LEARNING_ANSWERS} answers, "
        f"{learning.answers:,} so far. Until then nothing is called new or gone."
    )


def sightings(
    database: Database, now: datetime, *, endpoint: str = "", kind: str = "", only: str = ""
) -> list[dict[str, Any]]:
    """What the provider was seen to use, by endpoint and place: the columns of EXPORT_COLUMNS and `id`.

    `only`: "undocumented", "changed" (new or gone), or "" for all. A few thousand rows at most.
    """
    with database.read() as connection:
        learning, rows = stored.learning(connection), stored.all_sightings(connection)
    current = changes(rows, learning.over_at if learning else None, now)
    kinds = list(KINDS)
    in_order = sorted(rows, key=lambda row: (row["endpoint"], row["place"], kinds.index(row["kind"]), row["value"]))
    records = (_record(row, current.get(row["id"])) for row in in_order)
    return [
        record
        for record in records
        if (not endpoint or record["endpoint"] == endpoint)
        and (not kind or record["kind"] == kind)
        and (only != "undocumented" or not record["documented"])
        and (only != "changed" or record["change"])
    ]


def _record(row: Mapping[Any, Any], change: str | None) -> dict[str, Any]:
    stored_ones = ("id", "endpoint", "kind", "place", "value", "first_at", "last_at", "times", "example")
    return {name: row[name] for name in stored_ones} | {
        "documented": is_documented(sighting_of(row)),
        "change": change or "",
    }


def endpoints(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The endpoints of these rows."""
    return sorted({row["endpoint"] for row in rows})


def export(database: Database, now: datetime, form: str, **filters: str) -> tuple[bytes, int]:
    """The same as a file, csv or jsonl, and how many rows it holds."""
    file = io.BytesIO()
    count = write_rows(_chunks(sightings(database, now, **filters)), EXPORTED, form=form, file=file)
    return file.getvalue(), count


def _chunks(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield [{name: row[name] for name in EXPORT_COLUMNS} for row in rows]
