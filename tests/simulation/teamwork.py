"""A team's desk: what people do with one order and with all, and what must hold of it whatever dies in between (I14).

A job touches each of its orders once or says why not, in the name of whoever started it, and nothing while it is
stopped. Asked for twice it is one. A snooze ends with what somebody waits for, or must know at once.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from evidence import Violation

from tracking.access import Person
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.team import jobs, work
from tracking.team.plans import Act, Parameters

if TYPE_CHECKING:
    from world import World

ANN, BEA = Person("Ann Example"), Person("Bea Example")
TRIES = 6
FINAL = {"Completed", "Cancelled", "Refused"}
CHANGE = ("state", "notice", "units_fulfilled")
SELECT_JOBS = "SELECT id, key, state, total, done, skipped, person, next_turn_at FROM jobs"
SELECT_OUTCOMES = "SELECT job_id, order_id, outcome FROM job_orders"


def act_alone(database: Database, what: str, given: Mapping[str, Any], now: datetime) -> None:
    """What a person does with one order."""
    order = f"T-{given['order']}"
    match what:
        case "snooze":
            work.snooze(database, order, _until(given, now), by=ANN, now=now)
        case "end snooze":
            work.end_snooze(database, order, by=ANN, now=now)
        case "assign":
            work.assign(database, order, given["to"], by=ANN, now=now)
        case "reopen":
            work.reopen(database, order, by=BEA, now=now)


def _until(given: Mapping[str, Any], now: datetime) -> datetime | None:
    return now + timedelta(seconds=given["length"]) if given["length"] else None


class Teamwork:
    """The people at the desk, and what they may rely on. Raises Violation."""

    def __init__(self, world: "World", *, busy: bool) -> None:
        self.world, self.busy = world, busy
        self._started: dict[str, int] = {}
        self._jobs: dict[int, Any] = {}
        self._touched: set[tuple[int, int]] = set()
        self._newly: list[tuple[int, str]] = []

    # What people do

    def start(self, given: Mapping[str, Any], tries: int = TRIES) -> None:
        """Somebody starts an act on all orders; without an answer they press again."""
        act = Act(given["act"])

        def ask(database: Database, now: datetime) -> int:
            reason = "dealt with" if act is Act.ACKNOWLEDGE else None
            parameters = Parameters(reason, _until(given, now), given["to"])
            return jobs.start(
                database, Filters(), act, parameters, secret="a secret of the tests", key=given["key"], by=ANN, now=now
            )

        job_id = self._ask(ask)
        if job_id is None:
            if tries:
                self.world.after(3.0, lambda: self.start(given, tries - 1))
            return
        if self._started.setdefault(given["key"], job_id) != job_id:
            raise Violation("I14", f"{given['key']} was started twice: as {self._started[given['key']]} and {job_id}")
        self.world.tell(f"  {given['key']} is job {job_id}")

    def change(self, what: str, key: str) -> None:
        """A colleague stops a job, or has it go on."""
        if key in self._started:
            change = jobs.stop if what == "stop job" else jobs.resume
            self._ask(partial(_changed, change, self._started[key]))

    def _ask(self, what: Any) -> Any:
        return self.world.consoles[0].at_once(what) if self.world.consoles else None

    # What must hold

    def job_due(self) -> float | None:
        """When a running job has its next turn, in true seconds."""
        running = [job["next_turn_at"] for job in self._jobs.values() if job["state"] == "running"]
        return self.world.auditor.at_the_latest(self.world.auditor.seconds(min(running, default=None)))

    def appended(self, order_id: int, name: str, event: "Mapping[str, Any]", facts: Mapping[str, Any]) -> None:
        """An event was folded into its order, which now has these facts."""
        changes, detail = event["changes"], event["detail"]
        if event["kind"] != "snoozed" and facts["snoozed_at"] is not None:
            troubled = changes.get("attention") is not None or changes.get("state") in FINAL
            moved = facts["snoozed_until"] is None and any(one in changes for one in CHANGE)
            if troubled or moved:
                raise Violation("I14", f"{name} sleeps on through {event['kind']!r}")
        if (job_id := detail.get("job")) is not None:
            if (job_id, order_id) in self._touched:
                raise Violation("I14", f"job {job_id} touched {name} twice")
            self._touched.add((job_id, order_id))
            self._newly.append((job_id, detail.get("actor", "")))

    def committed(self) -> None:
        """A transaction is over: outcomes, counts and events of all jobs agree."""
        if not self.busy:
            return
        raw, before = self.world.file.raw, self._jobs
        names = ("id", "key", "state", "total", "done", "skipped", "person", "next_turn_at")
        self._jobs = {row[0]: dict(zip(names, row, strict=True)) for row in raw.execute(SELECT_JOBS).fetchall()}
        for job_id, actor in self._newly:
            if before.get(job_id, {}).get("state") != "running":
                raise Violation("I14", f"job {job_id} touched an order while it did not run")
            if actor != self._jobs[job_id]["person"]:
                raise Violation("I14", f"job {job_id} acted in the name of {actor!r}")
        self._newly.clear()
        if self._jobs != before:
            self._check_outcomes()

    def _check_outcomes(self) -> None:
        outcomes: dict[tuple[int, int], str] = {
            (row[0], row[1]): row[2] for row in self.world.file.raw.execute(SELECT_OUTCOMES).fetchall()
        }
        done = {pair for pair, outcome in outcomes.items() if outcome == "done"}
        if done != self._touched:
            raise Violation("I14", f"{sorted(done ^ self._touched)} are done or logged, and not both")
        for job_id, job in self._jobs.items():
            of_job = [outcome for (owner, _), outcome in outcomes.items() if owner == job_id]
            counts = len(of_job), of_job.count("done"), of_job.count("skipped")
            if counts != (job["total"], job["done"], job["skipped"]):
                raise Violation("I14", f"job {job_id} counts otherwise than its orders: {counts}")
            if job["state"] == "finished" and "waiting" in of_job:
                raise Violation("I14", f"job {job_id} is finished, and orders of it wait")

    def waiting(self) -> Iterable[tuple[str, float]]:
        """Running jobs, which must come to their end."""
        for job_id, job in self._jobs.items():
            if job["state"] == "running":
                yield f"job {job_id} runs and does not end", self.world.calm_at

    def ended(self) -> None:
        """The history is over: what was answered exists, and the audit log has each start once."""
        if missing := set(self._started.values()) - self._jobs.keys():
            raise Violation("I14", f"job {min(missing)} was started and is not there")
        if len({job["key"] for job in self._jobs.values()}) != len(self._jobs):
            raise Violation("I14", "two jobs have one key")
        begun = self.world.file.raw.execute("SELECT job_id FROM audit_log WHERE kind = 'job started'").fetchall()
        if sorted(row[0] for row in begun) != sorted(self._jobs):
            raise Violation("I14", "the audit log tells of other jobs than there are")


def event_of(row: Iterable[Any]) -> dict[str, Any]:
    """A row of the log by names."""
    _, _, _, kind, _, _, _, changes, _, detail = row
    return {"kind": kind, "changes": json.loads(changes), "detail": json.loads(detail)}


def _changed(change: Any, job_id: int, database: Database, now: datetime) -> bool:
    change(database, job_id, by=BEA, now=now)
    return True
