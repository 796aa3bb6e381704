"""Changes of the contract: what the provider uses since the baseline and did not before, and what it uses no more.

New is what is not documented and was first seen after the baseline was learned. Gone is what was in nearly every answer
and then in none for long. Each is told until a person marks it as read, in groups: one for an endpoint and kind.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.provider.http.contract import above, is_documented
from tracking.storage.team import sightings as stored
from tracking.storage.team.sightings import Sighting

NEW, GONE = "new", "gone"
GROUPS_AT_MOST, NAMED_AT_MOST = 20, 5
NEARLY_EVERY = 0.95
HISTORY = 50  # answers, before anything can be missed
# Without it came so many answers in so much time. A word may rest: orders of one kind come in waves.
_MISSED = {"field": (50, timedelta(hours=1)), "type": (50, timedelta(hours=1)), "word": (200, timedelta(days=1))}
Rows = Iterable[Mapping[Any, Any]]


def sighting_of(row: Mapping[Any, Any]) -> Sighting:
    """What a stored row is the sighting of."""
    return Sighting(row["endpoint"], row["kind"], row["place"], row["value"])


def changes(rows: Rows, learned_at: datetime | None, now: datetime) -> dict[int, str]:
    """The rows that are new or gone, by id; none while the baseline is learned."""
    if learned_at is None:
        return {}
    by_sighting = {sighting_of(row): row for row in rows}
    judged = ((row["id"], _change(row, by_sighting, learned_at, now)) for row in by_sighting.values())
    return {number: change for number, change in judged if change is not None}


def _change(
    row: Mapping[Any, Any], rows: Mapping[Sighting, Mapping[Any, Any]], learned_at: datetime, now: datetime
) -> str | None:
    sighting = sighting_of(row)
    if row["first_at"] > learned_at and not is_documented(sighting) and row["kind"] != "beyond":
        return NEW
    least, longest = _MISSED.get(sighting.kind, (0, timedelta()))
    whole = rows.get(above(sighting) or sighting)
    if not least or whole is None or sighting.place.endswith("[]") or sighting.value == "null" or whole is row:
        return None
    usual = row["times"] >= max(HISTORY, NEARLY_EVERY * row["above_times"])
    missed = whole["times"] - row["above_times"] >= least and now - row["last_at"] >= longest
    return GONE if usual and missed else None


def groups(rows: Rows, learned_at: datetime | None, now: datetime) -> list[dict[str, Any]]:
    """What nobody has marked as read yet, grouped, JSON-able: the newest groups first.

    What stands inside of what is told itself is left out: a new object is told, its fields are not.
    """
    rows = list(rows)
    current = changes(rows, learned_at, now)
    unread = {sighting_of(row): row for row in rows if current.get(row["id"], row["read_as"]) != row["read_as"]}
    outermost = [row for each, row in unread.items() if above(each) not in unread]
    return sorted(_grouped(outermost, current), key=lambda group: str(group["at"]), reverse=True)[:GROUPS_AT_MOST]


def _grouped(rows: Rows, current: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    gathered = dict[tuple[str, str, str], list[Mapping[Any, Any]]]()
    for row in rows:
        gathered.setdefault((current[row["id"]], row["endpoint"], row["kind"]), []).append(row)
    for (change, endpoint, kind), members in gathered.items():
        times = [row["first_at"] if change == NEW else row["last_at"] for row in members]
        named = sorted(members, key=lambda row: (row["place"], row["value"]))[:NAMED_AT_MOST]
        yield {
            "change": change,
            "endpoint": endpoint,
            "kind": kind,
            "number": len(members),
            "at": min(times).isoformat(),
            "named": [[row["place"], row["value"], row["example"]] for row in named],
        }


def judge(connection: Connection, now: datetime) -> None:
    """Store what is new or gone as of now, for whoever shows it."""
    learning = stored.learning(connection)
    if learning is not None:
        stored.set_news(connection, groups(stored.all_sightings(connection), learning.over_at, now), now)


def mark_read(connection: Connection, now: datetime) -> Mapping[str, int]:
    """Mark as read all that is new or gone; returns how many of each there were."""
    learning = stored.learning(connection)
    rows = stored.all_sightings(connection)
    current = changes(rows, learning.over_at if learning else None, now)
    counts = {}
    for change in (NEW, GONE):
        ids = [row["id"] for row in rows if current.get(row["id"]) == change and row["read_as"] != change]
        stored.mark_read(connection, ids, change)
        counts[change] = len(ids)
    judge(connection, now)
    return counts
