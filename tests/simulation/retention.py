"""What leaves the store: archived and removed at any time, by a process that may die over it (I16).

What left is in a file, once and as it was written, or was told to be deleted; what an order's log says of it from then
on is what it said before. The files prove themselves and the store, however often the process was killed in between.
"""

import json
import random
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence import Violation
from mishaps import Step

from tracking.storage.database import Database
from tracking.storage.retention.archive_check import check_archives
from tracking.storage.retention.archive_file import _rows
from tracking.storage.retention.archiving import Archiver
from tracking.storage.retention.lease import LEASE
from tracking.storage.retention.removal import remove_old

if TYPE_CHECKING:
    from world import World

SHARE = 0.3
SELECT_REMOVED = "SELECT id, events_removed FROM orders WHERE events_removed > 0"
SELECT_NOTICES = "SELECT digest, order_id FROM callbacks WHERE order_id IS NOT NULL"


def removes(seed: int) -> bool:
    """Whether anything leaves in this history."""
    return random.Random(f"retention {seed}").random() < SHARE


class Retention:
    """Archives or deletes what is over, now and then, and knows what has to be where."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        self._rng = random.Random(f"what leaves {seed}")
        self.busy, self._deletes = removes(seed), self._rng.random() < 0.25
        self._folder = Path(world.file.url.removeprefix("sqlite:///file:").partition("?")[0]).parent / "archive"

    def steps(self) -> list[Step]:
        """When what is older than an age leaves."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self.busy:
            return []
        moments = sorted(round(self._rng.uniform(5, 150), 2) for _ in range(self._rng.choice((2, 3, 5))))
        rng, ages, deaths = self._rng, (0, 1, 20), (0, 0, 1, 2, 3, 4, 5, 6, 8)
        return [Step(at, "remove old", {"age": rng.choice(ages), "dies": rng.choice(deaths)}) for at in moments]

    def removed(self) -> Mapping[int, int]:
        """How many events left, by order."""
        return dict(self.world.file.raw.execute(SELECT_REMOVED).fetchall()) if self.busy else {}

    def remove(self, given: Mapping[str, Any]) -> None:
        """Has what is older leave, by the first console that lives; it may die over one of its commits."""
        if not self.world.consoles:
            return
        notices = self.world.file.raw.execute(SELECT_NOTICES).fetchall()
        console = self.world.consoles[0]
        if given.get("dies"):
            self.world.trap("commit before", given["dies"])

        def act(database: Database, now: datetime) -> None:
            before = now - timedelta(seconds=given["age"])
            if not self._deletes:
                who: dict[str, Any] = {"owner": console.owner, "by": "sim", "clock": console.clock}
                Archiver(database, self._folder, **who).run(before)
                return
            while database.write(lambda connection: remove_old(connection, before, now)).anything:
                pass

        console.at_once(act)
        gone = self.removed()
        self.world.auditor.forget_notices({digest for digest, order_id in notices if order_id in gone})

    def ended(self) -> None:
        """The history is over: whatever was begun is done, and what left is where it has to be."""
        if not self.busy:
            return
        self.world.now += LEASE.total_seconds() + 1  # who died over it holds the right to for so long
        self.remove({"age": 0})
        if self._deletes or not self._folder.exists():
            return
        differences = check_archives(self.world.consoles[0].database, self._folder).differences
        if differences:
            raise Violation("I16", differences[0])
        recorded = {row[0] for row in self.world.file.raw.execute("SELECT file FROM archives").fetchall()}
        if odd := {file.name for file in self._folder.iterdir()} ^ recorded:
            raise Violation("I16", f"{min(odd)} is there and not recorded, or recorded and not there")
        self._check_events()

    def _check_events(self) -> None:
        archived: dict[tuple[int, int], str] = {}
        for file in sorted(self._folder.iterdir()):
            for row in _rows(file):
                if row["record"] == "event":
                    archived[row["order_id"], row["seq"]] = json.dumps(json.loads(row["changes"]), sort_keys=True)
        for order_id, removed in self.removed().items():
            told = self.world.auditor.changes_of(order_id)
            for seq in range(1, removed + 1):
                if archived.get((order_id, seq)) != told[seq - 1]:
                    raise Violation("I16", f"event {seq} of order {order_id} left, and no archive has it as it was")
