"""A team's desk: what people do with one order and with all, and what must hold of it whatever dies in between (I14).

A job touches each of its orders once or says why not, in the name of whoever started it, and nothing while it is
stopped. Asked for twice it is one. A snooze ends with what somebody waits for, or must know at once.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from deeds import Deed, skips
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
JOB = ("id", "key", "state", "total", "done", "skipped", "person", "next_turn_at", "act", "parameters", "changed_by")
SELECT_JOBS = f"SELECT {', '.join(JOB)} FROM jobs"
SELECT_OUTCOMES = "SELECT job_id, order_id, outcome, why FROM job_orders"
BY_PEOPLE = {"snooze ended", "reopened", "acknowledged"}


def alone(what: str, given: Mapping[str, Any], now: datetime) -> Deed:
    """What a person means to do with one order."""
    until = _until(given, now) if what == "snooze" else None
    return Deed(what, BEA if what == "reopen" else ANN, {"to": given.get("to"), "until": until and stored_time(until)})


def act_alone(database: Database, what: str, given: Mapping[str, Any], now: datetime) -> None:
    """Does it."""
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


def stored_time(at: datetime) -> str:
    """A time as SQLite keeps it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


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
        self.hands_in = False  # whether somebody is handing a file in
        self._passed_over: set[tuple[int, int]] = set()
        self._were: dict[int, list[Mapping[str, Any]]] = {}

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

        job_id = self.ask(ask)
        if job_id is None:
            if tries:
                self.world.after(3.0, lambda: self.start(given, tries - 1))
            return
        self.begun(given["key"], job_id)

    def begun(self, key: str, job_id: int) -> None:
        """Somebody is told that they started this job."""
        if self._started.setdefault(key, job_id) != job_id:
            raise Violation("I14", f"{key} was started twice: as {self._started[key]} and {job_id}")
        self.world.tell(f"  {key} is job {job_id}")

    def change(self, what: str, key: str) -> None:
        """A colleague stops a job, or has it go on."""
        if key in self._started:
            change = jobs.stop if what == "stop job" else jobs.resume
            self.ask(partial(_changed, change, self._started[key]))

    def ask(self, what: Any) -> Any:
        """Has somebody do something; None without an answer."""
        return self.world.consoles[0].at_once(what) if self.world.consoles else None

    # What must hold

    def job_due(self) -> float | None:
        """When a running job has its next turn, in true seconds."""
        running = [job["next_turn_at"] for job in self._jobs.values() if job["state"] == "running"]
        return self.world.auditor.at_the_latest(self.world.auditor.seconds(min(running, default=None)))

    def appended(
        self, order_id: int, name: str, event: Mapping[str, Any], before: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        """An event was folded into its order, which had the facts before and has these now."""
        detail = event["detail"]
        self._check_snooze(name, event, before, facts)
        if (job_id := detail.get("job")) is not None:
            if (job_id, order_id) in self._touched:
                raise Violation("I14", f"job {job_id} touched {name} twice")
            self._touched.add((job_id, order_id))
            self._newly.append((job_id, detail.get("actor", "")))
            if (job := self._jobs.get(job_id)) is not None and (why := skips(before, _deed_of(job))):
                raise Violation("I14", f"job {job_id} did {job['act']} with {name}, although {why}")
        if self.busy:
            self._were.setdefault(order_id, []).append(before)

    def _check_snooze(
        self, name: str, event: Mapping[str, Any], before: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        """A snooze ends with trouble, with what it waits for, or by a person; and lasts as long as nothing ends it."""
        if event["kind"] == "snoozed" or before["snoozed_at"] is None:
            return
        changes = event["changes"]
        troubled = changes.get("attention") is not None or changes.get("state") in FINAL
        moved = before["snoozed_until"] is None and any(one in changes for one in CHANGE)
        if facts["snoozed_at"] is not None and (troubled or moved):
            raise Violation("I14", f"{name} sleeps on through {event['kind']!r}")
        if facts["snoozed_at"] is None and not (troubled or moved or event["kind"] in BY_PEOPLE):
            raise Violation("I14", f"{name} is woken by {event['kind']!r}, which brings nothing new")

    def committed(self) -> list[tuple[int, str, str]]:
        """A transaction is over: outcomes, counts and events of all jobs agree.

        Returns what people did with jobs: which, what, and who.
        """
        if not self.busy:
            return []
        raw, before = self.world.file.raw, self._jobs
        self._jobs = {row[0]: dict(zip(JOB, row, strict=True)) for row in raw.execute(SELECT_JOBS).fetchall()}
        for job_id, actor in self._newly:
            if before.get(job_id, {}).get("state") != "running":
                raise Violation("I14", f"job {job_id} touched an order while it did not run")
            if actor != self._jobs[job_id]["person"]:
                raise Violation("I14", f"job {job_id} acted in the name of {actor!r}")
        self._newly.clear()
        if self._jobs != before:
            self._check_outcomes()
        self.world.imports.committed([job for job in self._jobs.values() if job["act"] == "import"])
        self._were.clear()
        return [
            (job_id, what, who)
            for job_id, job in self._jobs.items()
            if (changed := _change_of(before.get(job_id), job, hands_in=self.hands_in))
            for what, who in [changed]
        ]

    def _check_outcomes(self) -> None:
        rows = self.world.file.raw.execute(SELECT_OUTCOMES).fetchall()
        outcomes: dict[tuple[int, int], str] = {(row[0], row[1]): row[2] for row in rows}
        for job_id, order_id, outcome, why in rows:
            if outcome == "skipped" and (job_id, order_id) not in self._passed_over:
                self._check_skip(self._jobs[job_id], order_id, why)
        done = {pair for pair, outcome in outcomes.items() if outcome == "done"}
        if done != self._touched:
            raise Violation("I14", f"{sorted(done ^ self._touched)} are done or logged, and not both")
        for job_id, job in self._jobs.items():
            if job["act"] == "import":
                continue
            of_job = [outcome for (owner, _), outcome in outcomes.items() if owner == job_id]
            counts = len(of_job), of_job.count("done"), of_job.count("skipped")
            if counts != (job["total"], job["done"], job["skipped"]):
                raise Violation("I14", f"job {job_id} counts otherwise than its orders: {counts}")
            if job["state"] == "finished" and "waiting" in of_job:
                raise Violation("I14", f"job {job_id} is finished, and orders of it wait")

    def _check_skip(self, job: Mapping[str, Any], order_id: int, why: str) -> None:
        """A job passed over an order: something has forbidden that, before or amid this transaction."""
        self._passed_over.add((job["id"], order_id))
        were = [*self._were.get(order_id, ()), self.world.auditor.facts(order_id)]
        if not any(skips(facts, _deed_of(job)) for facts in were):
            raise Violation("I14", f"job {job['id']} passed over order {order_id}, which nothing forbids: {why}")

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


def _deed_of(job: Mapping[str, Any]) -> Deed:
    """What a job does with each of its orders."""
    given = json.loads(job["parameters"])
    until = given.get("until") and stored_time(datetime.fromisoformat(given["until"]))
    return Deed(job["act"], Person(job["person"]), {"to": given.get("assignee"), "until": until})


def _change_of(before: Mapping[str, Any] | None, job: Mapping[str, Any], *, hands_in: bool) -> tuple[str, str] | None:
    """What a person did with the job, and who; None where nobody did anything."""
    starts = "imported" if job["act"] == "import" else "job started"
    if before is None:
        return starts, job["person"]
    match before["state"], job["state"]:
        case "running", "stopped":
            return "job stopped", job["changed_by"]
        case "stopped", "running":
            return starts if hands_in else "job resumed", job["changed_by"]
        case "finished", "running":
            return starts, job["changed_by"]
    return None


def event_of(row: Iterable[Any]) -> dict[str, Any]:
    """A row of the log by names."""
    _, _, _, kind, witness, _, _, changes, _, detail = row
    return {"kind": kind, "witness": witness, "changes": json.loads(changes), "detail": json.loads(detail)}


def _changed(change: Any, job_id: int, database: Database, now: datetime) -> bool:
    change(database, job_id, by=BEA, now=now)
    return True
