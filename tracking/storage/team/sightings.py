"""Sightings of the provider's contract in the store: added to by every process, bounded. Steps of a job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, func, select, update

from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.tables import insert_for
from tracking.storage.team.tables import SIGHTINGS

AT_MOST_PER_ENDPOINT = 300  # that are not documented
AT_MOST = 3000
LEARNING, LEARNING_ANSWERS = timedelta(days=1), 200
_KEY = ("endpoint", "kind", "place", "value")


class Sighting(NamedTuple):
    """What was seen, where. `kind`: field, type, word, status, content type, or "beyond" for what was only counted.

    `place` is a path in the JSON, "" for the whole of it; in the JSON of an answer other than a 2xx it begins with the
    status: "409 PreviousOrderIds[]". `value` is the type, word, status or content type, "" for a field.
    """

    endpoint: str
    kind: str
    place: str
    value: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """How often a process saw it since it stored that last, and when.

    `above` is what it stands in, seen `above_times` until this was seen last. What is not `documented` is bounded.
    """

    sighting: Sighting
    times: int
    first_at: datetime
    last_at: datetime
    example: str | None = None
    above: Sighting | None = None
    above_times: int = 0
    documented: bool = False


class Learning(NamedTuple):
    """Since when, and on how many answers, the baseline was learned; `over_at` is None while it is."""

    since: datetime
    answers: int
    over_at: datetime | None

    @property
    def earliest_end(self) -> datetime:
        """When it is over at the earliest."""
        return self.since + LEARNING


def beyond(sighting: Sighting) -> Sighting:
    """The row that counts the sightings of this endpoint beyond those that are stored."""
    return Sighting(sighting.endpoint, "beyond", "", "")


def learning(connection: Connection) -> Learning | None:
    """How far the baseline is learned; None before anything was seen."""
    fact = facts.get_fact(connection, FactKey.CONTRACT)
    return _learning(fact.value) if fact else None


def _learning(value: Mapping[str, Any]) -> Learning:
    over = value.get("learned_at")
    return Learning(
        datetime.fromisoformat(value["since"]), value["answers"], datetime.fromisoformat(over) if over else None
    )


def news(connection: Connection) -> list[dict[str, Any]]:
    """Changes of the contract that nobody has marked as read, in groups, as last judged."""
    fact = facts.get_fact(connection, FactKey.CONTRACT)
    return list(fact.value.get("news", ())) if fact else []


def set_news(connection: Connection, groups: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Store what is new or gone; nothing before anything was seen."""
    value = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"key": FactKey.CONTRACT}).scalar()
    if value is not None:
        facts.set_fact(connection, FactKey.CONTRACT, value | {"news": list(groups)}, now)


def all_sightings(connection: Connection) -> Sequence[Mapping[Any, Any]]:
    """All there are, the endpoints and places in order; a few thousand rows at the most."""
    return connection.execute(select(SIGHTINGS).order_by(*(SIGHTINGS.c[name] for name in _KEY))).mappings().all()


def store(
    connection: Connection, gathered: Iterable[Gathered], answers: int, now: datetime
) -> tuple[Learning, list[Sighting]]:
    """Add what a process gathered; returns how far learning is, and what was not stored before and is not documented.

    One process at a time: what all of them may store together is bounded, and counts of what stands in one another
    belong together.
    """
    start = {"key": FactKey.CONTRACT, "value": {"since": now.isoformat(), "answers": 0, "learned_at": None}, "at": now}
    connection.execute(facts.insert_fact(connection.dialect.name), start)
    state = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"key": FactKey.CONTRACT}).scalar_one()
    entries = sorted(gathered, key=lambda entry: entry.sighting)
    before = _times(connection, {entry.sighting.endpoint for entry in entries})
    rows, fresh = _bounded(connection, entries, before)
    if rows:
        connection.execute(_upsert(connection.dialect.name), rows)
    answers += state["answers"]
    since = datetime.fromisoformat(state["since"])
    if state["learned_at"] is None and now - since >= LEARNING and answers >= LEARNING_ANSWERS:
        state = state | {"learned_at": now.isoformat()}
    state = state | {"answers": answers}
    facts.set_fact(connection, FactKey.CONTRACT, state, now)
    return _learning(state), fresh


def _times(connection: Connection, endpoints: set[str]) -> dict[Sighting, int]:
    query = select(*(SIGHTINGS.c[name] for name in _KEY), SIGHTINGS.c.times).where(SIGHTINGS.c.endpoint.in_(endpoints))
    return {Sighting(*row[:4]): row[4] for row in connection.execute(query)}


def _bounded(
    connection: Connection, entries: Iterable[Gathered], before: Mapping[Sighting, int]
) -> tuple[list[dict[str, Any]], list[Sighting]]:
    """The rows to add, and which of them are new. Beyond the bounds, undocumented ones only add to one count."""
    total = connection.execute(select(func.count()).select_from(SIGHTINGS)).scalar_one()
    sizes = dict[str, int]()
    for sighting in before:
        sizes[sighting.endpoint] = sizes.get(sighting.endpoint, 0) + 1
    rows, fresh = dict[Sighting, dict[str, Any]](), list[Sighting]()
    for entry in entries:
        sighting, endpoint = entry.sighting, entry.sighting.endpoint
        if sighting not in before and not entry.documented and sighting.kind != "beyond":
            if sizes.get(endpoint, 0) >= 2 * AT_MOST_PER_ENDPOINT or total >= AT_MOST:
                sighting = beyond(sighting)
            else:
                fresh.append(sighting)
        if sighting not in before and sighting not in rows:
            sizes[endpoint] = sizes.get(endpoint, 0) + 1
            total += 1
        _merge(rows, sighting, entry, before)
    return list(rows.values()), fresh


def _merge(
    rows: dict[Sighting, dict[str, Any]], sighting: Sighting, entry: Gathered, before: Mapping[Sighting, int]
) -> None:
    row = sighting._asdict() | {
        "first_at": entry.first_at,
        "last_at": entry.last_at,
        "times": entry.times,
        "example": entry.example,
        "above_times": entry.above_times + before.get(entry.above, 0) if entry.above else 0,
    }
    if (other := rows.get(sighting)) is not None:
        row |= {
            "first_at": min(row["first_at"], other["first_at"]),
            "last_at": max(row["last_at"], other["last_at"]),
            "times": row["times"] + other["times"],
        }
    rows[sighting] = row


def _upsert(dialect: str) -> Any:
    adding = insert_for(dialect, SIGHTINGS)
    added, columns = adding.excluded, SIGHTINGS.c
    return adding.on_conflict_do_update(
        index_elements=list(_KEY),
        set_={
            "first_at": sa.case((added.first_at < columns.first_at, added.first_at), else_=columns.first_at),
            "last_at": sa.case((added.last_at > columns.last_at, added.last_at), else_=columns.last_at),
            "times": columns.times + added.times,
            "example": func.coalesce(columns.example, added.example),
            "above_times": added.above_times,
            # What came back is reported again if it disappears once more.
            "read_as": sa.case((columns.read_as == "gone", "new"), else_=columns.read_as),
        },
    )


def mark_read(connection: Connection, ids: Iterable[int], change: str) -> None:
    """Remember of these that a person knows of the change, "new" or "gone"."""
    connection.execute(update(SIGHTINGS).where(SIGHTINGS.c.id.in_(list(ids))).values(read_as=change))
