"""A file of orders in a history: handed in, killed in its middle, handed in again, stopped and resumed (I0, I14).

Each of its orders is placed once, and what its rows say is what the orders are. Drawn apart, so that a seed's history
stays what it was where it has no file.
"""

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapters import read_request
from evidence import Intended, Violation
from mishaps import Step
from teamwork import ANN, BEA, TRIES
from wishes import lines_of, made_up

from tracking.errors import InvalidSubmission
from tracking.submissions.files import CheckedFile
from tracking.team.imports.handing_in import hand_in

if TYPE_CHECKING:
    from world import World

KEY = "the file"
SELECT_ROWS = (
    "SELECT number, po_number, outcome, order_id, request IS NOT NULL, message FROM import_rows ORDER BY number"
)
SELECT_PLACED = "SELECT id FROM orders WHERE batch_id IS NOT NULL"
PLACED = {"queued", "exists"}


class Imports:
    """Knows the file, and what became of each of its rows. Raises Violation. Without a file it has nothing to do."""

    def __init__(self, world: "World", seed: int, first: Mapping[str, Any]) -> None:
        self.world = world
        self._rng = rng = random.Random(f"file {seed}")
        self._documents: list[Mapping[str, Any]] = []
        if rng.random() < 0.12:
            self._documents = [made_up(rng, number, f"F-{number}") for number in range(rng.choice((2, 3)))]
            self._documents += [first] if rng.random() < 0.3 else []
        self._rows: list[Any] = []
        self._looked_at: Any = None
        self._taken = False

    def steps(self) -> list[Step]:
        """When it is handed in, and what else people do with it."""
        rng = self._rng
        if not self._documents:
            return []
        at = round(rng.uniform(0, 20), 2)
        steps = [Step(at, "import", {"by": "Ann"})]
        if rng.random() < 0.5:
            steps.append(Step(round(at + rng.choice((0.0, 0.2, 5.0)), 2), "import", {"by": rng.choice(("Ann", "Bea"))}))
        if rng.random() < 0.5:
            stopped = round(at + rng.uniform(0.0, 0.3), 2)
            steps.append(Step(stopped, "stop job", {"key": KEY}))
            again = rng.choice(("resume job", "import"))
            steps.append(Step(stopped + 5, again, {"key": KEY, "by": "Bea"}))
        return steps

    def hand_in(self, given: Mapping[str, Any], tries: int = TRIES) -> None:
        """Somebody hands the file in; without an answer they do it again."""
        requests = tuple(read_request(document) for document in self._documents)
        checked = CheckedFile(requests, (), len(requests), "f" * 64, "orders.json")
        for document in self._documents:
            self._intend(document)
        by, teamwork = (BEA if given["by"] == "Bea" else ANN), self.world.teamwork
        teamwork.hands_in = True
        result = teamwork.ask(lambda database, now: hand_in(database, checked, source="json", by=by, now=now))
        teamwork.hands_in = False
        if result is None:
            refused = self.world.consoles and isinstance(self.world.consoles[0].error, InvalidSubmission)
            if tries and not refused:
                self.world.after(3.0, lambda: self.hand_in(given, tries - 1))
            return
        teamwork.begun(KEY, result.job_id)
        self._taken = True
        if [row[1] for row in self._rows] != [document["PONumber"] for document in self._documents]:
            raise Violation("I0", f"a file was taken, and its rows are {self._rows}")

    def _intend(self, document: Mapping[str, Any]) -> None:
        intended = self.world.evidence.intended
        name = document["PONumber"]
        intended.setdefault(name, Intended(name, document, lines_of(dict(document)))).handed_in = True

    def committed(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """A transaction is over: rows, orders and the job say the same."""
        if not self._documents:
            return
        raw, before = self.world.file.raw, self._rows
        self._rows = raw.execute(SELECT_ROWS).fetchall()
        placed = {row[0] for row in raw.execute(SELECT_PLACED)}
        if (looked_at := (self._rows, placed, jobs)) == self._looked_at:
            return
        self._looked_at = looked_at
        for old, row in zip(before, self._rows, strict=False):
            if old[2] in PLACED and old != row:
                raise Violation("I14", f"a row that was settled changes: {old} to {row}")
        if placed != (queued := {row[3] for row in self._rows if row[2] == "queued"}):
            raise Violation("I14", f"of a file orders {sorted(placed)} were placed, by its rows {sorted(queued)}")
        for row in self._rows:
            self._check_row(row)
        for job in jobs:
            self._check_job(job)

    def _check_row(self, row: Sequence[Any]) -> None:
        _, name, outcome, order_id, waits, message = row
        order, intended = self.world.auditor.order(name), self.world.evidence.intended[name]
        if outcome in PLACED:
            if order is None or order["id"] != order_id or waits:
                raise Violation("I14", f"{name} is {outcome} by its file, and is not that order")
            intended.acknowledged = True
        elif outcome == "waiting" and not waits:
            raise Violation("I0", f"{name} waits to be placed, and its request is gone")
        elif outcome == "rejected" and name.startswith("F-"):
            raise Violation("I0", f"{name} is rejected, though nothing is wrong with it: {message}")

    def _check_job(self, job: Mapping[str, Any]) -> None:
        outcomes = [row[2] for row in self._rows]
        counts = len(outcomes), sum(one in PLACED for one in outcomes), outcomes.count("rejected")
        if counts != (job["total"], job["done"], job["skipped"]):
            raise Violation("I14", f"the job of a file counts otherwise than its rows: {counts}")
        if job["state"] == "finished" and "waiting" in outcomes:
            raise Violation("I14", "the job of a file is finished, and rows of it wait")
