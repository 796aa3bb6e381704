"""Fire drills: a scenario of the embedded sandbox runs, and how the team reacts to it is timed.

What starts a scenario is in `app`, which alone knows the sandbox and refuses anything else. Who opened what is told by
the pages; acts, and whether all is settled, are read from the orders and their logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.access import Person
from tracking.errors import NotAllowed
from tracking.orders.model import State, Submission, Witness, is_open
from tracking.orders.vocabulary import EventKind
from tracking.reports.team.drills import TEAM_STEPS, Drill, Step, running_drill, running_of
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import DRILLS

LONGEST_DRILL = timedelta(hours=2)
_UNSETTLED = frozenset({Submission.QUEUED, Submission.SENDING, Submission.UNKNOWN})
# An acknowledgement that says so: "Customer informed", "told the customers".
_DID = r"\b(informed|told|notified|called|contacted|wrote to)\b"
_SAYS_INFORMED = re.compile(rf"\bcustomers?\b.*{_DID}|{_DID}.*\bcustomers?\b", re.IGNORECASE)
_FACTS = tuple(ORDERS.c[name] for name in ("id", "state", "submission", "attention", "acknowledged_at", "late_at"))


def check_none_runs(database: Database) -> None:
    """Raise NotAllowed while a drill runs."""
    if running_drill(database) is not None:
        raise NotAllowed("a drill is running; end it first")


def begin(
    database: Database, scenario: str, po_numbers: Sequence[str], *, unnamed: bool, by: Person, now: datetime
) -> None:
    """Time how the team reacts to a scenario that was started, which these orders are about.

    Raises:
        NotPermitted: the person may not.
        NotAllowed: another drill runs.
    """
    by.must_operate()

    def job(connection: Connection) -> None:
        # First, as it lets one process after the other go on.
        record_act(connection, by, AuditKind.DRILL_STARTED, now, detail={"scenario": None if unnamed else scenario})
        if running_of(connection) is not None:
            raise NotAllowed("a drill is running; end it first")
        values: dict[str, Any] = {"scenario": scenario, "started_by": by.name, "started_at": now, "unnamed": unnamed}
        connection.execute(sa.insert(DRILLS).values(**values, orders=list(po_numbers), times={}))

    database.write(job)


def end(database: Database, *, by: Person, now: datetime) -> Drill:
    """End the drill that runs, and return it; what was not done by then stays so.

    Raises as `begin`; NotAllowed where none runs.
    """
    by.must_operate()

    def job(connection: Connection) -> Drill:
        drill = _running(connection)
        _store(connection, drill, {"ended_at": now})
        record_act(connection, by, AuditKind.DRILL_ENDED, now, detail={"scenario": drill.scenario})
        return drill

    return database.write(job)


def record_customers_informed(database: Database, *, by: Person, now: datetime) -> None:
    """Record that the customers were told. Raises as `end`; a second time changes nothing."""
    by.must_operate()

    def job(connection: Connection) -> None:
        drill = _running(connection)
        if Step.INFORMED not in drill.at:
            _store(connection, drill, _with(drill, Step.INFORMED, now))
            detail = {"scenario": None if drill.is_secret else drill.scenario}
            record_act(connection, by, AuditKind.DRILL_CUSTOMERS_INFORMED, now, detail=detail)

    database.write(job)


def note_opened(database: Database, po_numbers: Iterable[str], now: datetime) -> None:
    """Somebody has opened a page that shows these orders: the running drill was seen, where it is about one of them.

    Nothing where no drill runs. Viewers may do it: to look is no act.
    """
    opened = set(po_numbers)
    drill = running_drill(database)
    if drill is not None and Step.OPENED not in drill.at and not opened.isdisjoint(drill.orders):
        _change(database, lambda latest: _with(latest, Step.OPENED, now))


def watch(database: Database, now: datetime) -> None:
    """Find what the team has done in the running drill, and end it once all is done, or after LONGEST_DRILL."""
    drill = running_drill(database)
    if drill is None:
        return
    with database.read() as connection:
        current = _times_now(connection, drill, now)
    done = all(step in current for step in TEAM_STEPS)
    ended_at = now if done or now - drill.started_at > LONGEST_DRILL else None
    if current != drill.at or ended_at:
        _change(database, lambda latest: _merged(latest, drill, current, ended_at))


def _merged(latest: Drill, read: Drill, current: Mapping[Step, datetime], ended_at: datetime | None) -> dict[str, Any]:
    """What was found, beside what others recorded since the drill was read."""
    if latest.id != read.id:
        return {}
    recorded: dict[Step, datetime] = {step: at for step, at in latest.at.items() if step != Step.SETTLED}
    return {"times": _encoded({**current, **recorded}), "ended_at": ended_at}


def _change(database: Database, changes: Callable[[Drill], Mapping[str, Any]]) -> None:
    """Change the drill that runs; nothing where none does."""

    def job(connection: Connection) -> None:
        drill = running_of(connection, locked=True)
        if drill is not None:
            _store(connection, drill, changes(drill))

    database.write(job)


def _running(connection: Connection) -> Drill:
    """The drill that runs, which nobody else changes meanwhile. Raises NotAllowed."""
    drill = running_of(connection, locked=True)
    if drill is None:
        raise NotAllowed("no drill is running")
    return drill


def _store(connection: Connection, drill: Drill, values: Mapping[str, Any]) -> None:
    if values:
        connection.execute(sa.update(DRILLS).where(DRILLS.c.id == drill.id).values(**values))


def _times_now(connection: Connection, drill: Drill, now: datetime) -> dict[Step, datetime]:
    """When each step was taken, by what the orders and their logs say now."""
    rows = connection.execute(select(*_FACTS).where(ORDERS.c.po_number.in_(drill.orders))).all()
    times = dict(drill.at)
    ids = [row.id for row in rows]
    acts = select(EVENTS.c.kind, EVENTS.c.detail, EVENTS.c.learned_at).where(
        EVENTS.c.order_id.in_(ids), EVENTS.c.witness == Witness.PERSON, EVENTS.c.learned_at >= drill.started_at
    )
    for act in connection.execute(acts.order_by(EVENTS.c.id).limit(500)):
        times.setdefault(Step.ACTED, act.learned_at)
        if act.kind == EventKind.ACKNOWLEDGED and _SAYS_INFORMED.search(str(act.detail.get("text"))):
            times.setdefault(Step.INFORMED, act.learned_at)
    if Step.ACTED in times:  # nobody acts on what they have not seen
        times.setdefault(Step.OPENED, times[Step.ACTED])
    troubled = any(_is_troubled(row, now) for row in rows)
    if troubled:
        times.setdefault(Step.TROUBLE, now)
    here = len(rows) == len(drill.orders) and not any(row.submission in _UNSETTLED for row in rows)
    over = Step.TROUBLE in times or not any(is_open(row.state) for row in rows)
    if here and over and not troubled:
        times.setdefault(Step.SETTLED, now)
    else:  # something new came of it
        times.pop(Step.SETTLED, None)
    return times


def _is_troubled(row: sa.Row[Any], now: datetime) -> bool:
    """Whether the order needs a decision, is unconfirmed or late."""
    decision = row.attention is not None and row.acknowledged_at is None
    late = row.late_at is not None and row.late_at < now and is_open(row.state)
    return decision or late or row.state == State.UNKNOWN


def _with(drill: Drill, step: Step, now: datetime) -> dict[str, Any]:
    return {"times": _encoded({step: now, **drill.at})}


def _encoded(times: Mapping[Step, datetime]) -> dict[str, str]:
    return {step.value: at.isoformat() for step, at in times.items()}
