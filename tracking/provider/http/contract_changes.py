"""Changes of the contract: what the provider uses that it did not at first, and what it no longer uses.

New is what is not documented and was first seen after the baseline was learned. Gone is what was in nearly every answer
and then in none for long. Each is told until a person marks it as read, in groups: one for an endpoint and kind.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain
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
    gathered = dict[tuple[str, str, str], dict[Sighting, list[int]]]()
    for sighting, row in unread.items():
        whole = _outermost(sighting, unread)
        group = gathered.setdefault((current[unread[whole]["id"]], whole.endpoint, whole.kind), {})
        group.setdefault(whole, []).append(row["id"])
    made = [
        _group(*key, [unread[whole] for whole in group], list(chain.from_iterable(group.values())))
        for key, group in gathered.items()
    ]
    return sorted(made, key=lambda group: str(group["at"]), reverse=True)[:GROUPS_AT_MOST]


def _outermost(sighting: Sighting, unread: Mapping[Sighting, object]) -> Sighting:
    while (whole := above(sighting)) is not None and whole in unread:
        sighting = whole
    return sighting


def _group(change: str, endpoint: str, kind: str, members: list[Mapping[Any, Any]], ids: list[int]) -> dict[str, Any]:
    """`ids` are those of the members and of all inside of them."""
    times = [row["first_at"] if change == NEW else row["last_at"] for row in members]
    named = sorted(members, key=lambda row: (row["place"], row["value"]))[:NAMED_AT_MOST]
    return {
        "change": change,
        "endpoint": endpoint,
        "kind": kind,
        "number": len(members),
        "at": min(times).isoformat(),
        "named": [[row["place"], row["value"], row["example"]] for row in named],
        "ids": sorted(ids),
    }


def judge(connection: Connection, now: datetime) -> None:
    """Store what is new or gone as of now, for whoever shows it."""
    learning = stored.learning(connection)
    if learning is not None and learning.over_at is not None:
        stored.set_news(connection, groups(stored.all_sightings(connection), learning.over_at, now), now)


def mark_read(connection: Connection, ids: Mapping[str, Iterable[int]], now: datetime) -> dict[str, int]:
    """Mark these as read where they are still what they are named under, NEW or GONE; returns how many of each were."""
    learning = stored.learning(connection)
    rows = {row["id"]: row for row in stored.all_sightings(connection)}
    current = changes(rows.values(), learning.over_at if learning else None, now)
    counts = {}
    for change, those in ids.items():
        marked = [each for each in those if current.get(each) == change and rows[each]["read_as"] != change]
        stored.mark_read(connection, marked, change)
        counts[change] = len(marked)
    judge(connection, now)
    return counts
