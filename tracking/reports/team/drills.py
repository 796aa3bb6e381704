"""Fire drills: the one that runs, the last ones, and how fast the team was in each. Bounded reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.storage.database import Database
from tracking.storage.team.tables import DRILLS

LISTED = 20
_NEWEST = select(DRILLS).order_by(DRILLS.c.id.desc())


class Step(StrEnum):
    """The steps that a drill times, in order; stored words. `TROUBLE` is when it showed, and no act of the team's."""

    TROUBLE = "trouble"
    OPENED = "seen"
    ACTED = "acted"
    SETTLED = "settled"
    INFORMED = "told"


TEAM_STEPS = (Step.OPENED, Step.ACTED, Step.SETTLED, Step.INFORMED)


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. `orders` are the PONumbers it is about, `at` is when each step was taken, as far as it was.

    `unnamed`: while it runs nobody is told which scenario it is.
    """

    id: int
    scenario: str
    started_by: str
    started_at: datetime
    ended_at: datetime | None
    unnamed: bool
    orders: tuple[str, ...]
    at: Mapping[Step, datetime]

    def took(self, step: Step) -> timedelta | None:
        """How long after the start the step was taken; None where it was not."""
        return None if step not in self.at else max(self.at[step] - self.started_at, timedelta())

    @property
    def is_secret(self) -> bool:
        """Whether nobody is to be told yet which scenario it is."""
        return self.unnamed and self.ended_at is None


def _drill(row: RowMapping) -> Drill:
    at = {Step(name): datetime.fromisoformat(text) for name, text in row["times"].items()}
    names = ("id", "scenario", "started_by", "started_at", "ended_at", "unnamed")
    return Drill(**{name: row[name] for name in names}, orders=tuple(row["orders"]), at=at)


def running_drill(database: Database) -> Drill | None:
    """The drill that runs; None where none does."""
    with database.read() as connection:
        return running_of(connection)


def running_of(connection: Connection, *, locked: bool = False) -> Drill | None:
    """The same within a transaction; `locked`: nobody else changes it meanwhile. Only the newest can run."""
    newest = _NEWEST.limit(1).with_for_update() if locked else _NEWEST.limit(1)
    row = connection.execute(newest).mappings().one_or_none()
    return _drill(row) if row and row["ended_at"] is None else None


def newest_drills(database: Database) -> list[Drill]:
    """The newest drills, LISTED at the most, the newest first."""
    with database.read() as connection:
        return [_drill(row) for row in connection.execute(_NEWEST.limit(LISTED)).mappings()]


def last_like(drill: Drill, drills: Sequence[Drill]) -> Drill | None:
    """The drill with the same scenario before this one, of those given; None where there is none."""
    return next((one for one in drills if one.id < drill.id and one.scenario == drill.scenario), None)
