"""Loses the power of a store at seeded moments and asks what is left of what it had acknowledged.

    python tests/powerloss/losses.py [--cuts 100] [--seed 1] [names...]

One run of the product's own store (`workload`) is written down operation by operation; each cut through that log is one
power loss, from which the product opens what the disk may then hold. One line for each way to keep a store, a last one
with the figures; exits 1 when ours loses or damages anything, or when a wrong one is not seen to.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE.parents[1]), str(HERE.parent)) if path not in sys.path]

from powerloss.disk import Disk, NotWhole, Operation, read_log, write_out  # noqa: E402 - found through the lines above
from powerloss.durabilities import DURABILITIES, OURS, PLANTED, Durability  # noqa: E402 - the same
from powerloss.workload import ACKNOWLEDGED, secrets_of, settings_at  # noqa: E402 - the same
from sqlalchemy import select, text  # noqa: E402 - the same

from tracking.errors import TrackingError  # noqa: E402 - the same
from tracking.storage import database, facts  # noqa: E402 - the same
from tracking.storage.maintenance.verify import verify  # noqa: E402 - the same
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS  # noqa: E402 - the same

ORDERS_OF_A_THREAD = 25
SECONDS_TO_RECORD = 120


class Unavailable(Exception):
    """Nothing can be recorded on this machine."""


def build_shadow(folder: Path) -> Path:
    """The library to preload.

    Raises:
        Unavailable: there is no compiler, or it cannot make such a library.
    """
    library = folder / "shadow.so"
    compiler = os.environ.get("CC", "cc")
    flags = ["-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE"]
    command = [compiler, *flags, "-o", str(library), str(HERE / "shadow.c"), "-ldl", "-lpthread"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as exc:
        raise Unavailable(f"there is no C compiler ({compiler}): install one, or name it in CC") from exc
    except subprocess.CalledProcessError as exc:
        raise Unavailable(f"{compiler} cannot build the library: {exc.stderr.strip()[-500:]}") from exc
    return library


def record(durability: Durability, library: Path, folder: Path, *, orders: int = ORDERS_OF_A_THREAD) -> "Recording":
    """Runs the workload once and reads what it did.

    Raises:
        Unavailable: the library is not taken in here.
    """
    work, log = folder.resolve() / "work", folder.resolve() / "operations"
    work.mkdir()
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")}
    preloaded = {"LD_PRELOAD": str(library), "SHADOW_FOLDER": str(work), "SHADOW_LOG": str(log)}
    command = [sys.executable, str(HERE / "workload.py"), str(work), durability.name, str(orders)]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=known | preloaded,
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_RECORD,
    )
    if done.returncode:
        raise RuntimeError(f"the workload ended with {done.returncode}: {done.stderr[-2000:]}")
    operations = list(read_log(log.read_bytes())) if log.exists() else []
    if not any(operation.path.endswith(".db") for operation in operations):
        raise Unavailable("LD_PRELOAD shows nothing of what this Python does to its files")
    return Recording(str(work), operations)


@dataclass(frozen=True, slots=True)
class Recording:
    """What a process did to the files of a folder."""

    folder: str
    operations: Sequence[Operation]

    def losses(self, cuts: int, rng: random.Random) -> Iterator[tuple[dict[str, bytes | None], list[str]]]:
        """What the disk may hold after each of so many power losses, and what had been acknowledged by then.

        Raises:
            NotWhole: the recording cannot prove anything.
        """
        disk, told = Disk(self.folder, f"{self.folder}/{ACKNOWLEDGED}"), bytearray()
        moments = sorted(rng.randrange(len(self.operations)) for _ in range(cuts))
        for number, operation in enumerate(self.operations):
            told += disk.apply(operation) or b""
            while moments and moments[0] == number:
                moments.pop(0)
                yield disk.after(rng), told.decode().splitlines()


def examine(folder: Path, acknowledged: Sequence[str], durability: Durability) -> list[str]:
    """What is wrong with what the power loss left in the folder, once the product has opened it."""
    loaded = settings_at(folder)
    wanted = set(acknowledged)
    if not wanted:
        return []
    try:
        with durability.mended():
            found = set(secrets_of(loaded))
            opened = database.connect(loaded.database_url)
            try:
                problems = _damages(opened)
                found |= _found(opened)
                opened.write(lambda connection: facts.set_fact(connection, "after", {}, datetime.now(UTC)))
            finally:
                opened.close()
    except TrackingError as exc:
        return [f"damaged: {exc}"]
    return problems + [f"lost: {what}" for what in sorted(wanted - found)]


def _damages(opened: database.Database) -> list[str]:
    with opened.read() as connection:
        said = list(connection.execute(text("PRAGMA integrity_check")).scalars())
    # An audit of what SQLite itself calls damaged says nothing more, and may stumble over it.
    return [f"damaged: {line}" for line in (said if said != ["ok"] else verify(opened))]


def _found(opened: database.Database) -> set[str]:
    attempts = select(ORDERS.c.po_number).join(EVENTS, EVENTS.c.order_id == ORDERS.c.id).where(EVENTS.c.seq == 2)
    queries = {
        "order": select(ORDERS.c.po_number),
        "attempt": attempts,
        "callback": select(CALLBACKS.c.digest),
    }
    with opened.read() as connection:
        return {f"{kind} {name}" for kind, query in queries.items() for name in connection.execute(query).scalars()}


@dataclass
class Figures:
    """What came of one way to keep a store."""

    durability: Durability
    cuts: int = 0
    acknowledged: int = 0
    lost: int = 0
    damaged: int = 0
    rows: int = 0
    first: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it came out as it must: ours whole, a wrong one seen to be wrong."""
        return (self.lost + self.damaged == 0) == self.durability.ours

    def __str__(self) -> str:
        must = "must lose nothing" if self.durability.ours else "a wrong setting, must be seen to lose"
        return (
            f"{'ok ' if self.holds else 'BAD'} {self.durability.name:<32} {self.cuts:5d} power losses, "
            f"{self.lost:4d} with a loss ({self.rows} of {self.acknowledged} acknowledged), "
            f"{self.damaged:4d} with damage {self.seconds:6.1f} s: {must}"
        )


def measure(durability: Durability, library: Path, folder: Path, *, cuts: int, seed: int, orders: int) -> Figures:
    """Records once and loses the power so often.

    Raises:
        Unavailable: nothing can be recorded here.
        NotWhole: something was done that the shadow disk does not know.
    """
    began, figures, rng = time.monotonic(), Figures(durability), random.Random(seed)
    recording = record(durability, library, folder, orders=orders)
    for number, (content, acknowledged) in enumerate(recording.losses(cuts, rng)):
        left = folder / f"{number:05d}"
        write_out(content, left)
        problems = examine(left, acknowledged, durability)
        lost = [problem for problem in problems if problem.startswith("lost")]
        figures.cuts += 1
        figures.acknowledged += len(acknowledged)
        figures.rows += len(lost)
        figures.lost += bool(lost)
        figures.damaged += len(lost) < len(problems)
        figures.first = figures.first or problems[:5]
        _remove(left)
    figures.seconds = time.monotonic() - began
    return figures


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def main() -> int:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description="Power losses, and what they leave.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(DURABILITIES)}; all, when none is named"
    )
    parser.add_argument("--cuts", type=int, default=100, help="power losses for each way to keep a store")
    parser.add_argument("--seed", type=int, default=1, help="makes chance repeatable")
    parser.add_argument("--orders", type=int, default=ORDERS_OF_A_THREAD, help="orders that each thread places")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in DURABILITIES]:
        parser.error(f"no such way: {', '.join(unknown)}")
    done: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="tracking-powerloss-") as folder:
        try:
            library = build_shadow(Path(folder))
            for number, name in enumerate(asked.names or DURABILITIES):
                own = Path(folder) / str(number)
                own.mkdir()
                found = measure(DURABILITIES[name], library, own, cuts=asked.cuts, seed=asked.seed, orders=asked.orders)
                done.append(found)
                _say(str(found), *(f"      {problem}" for problem in found.first if found.durability.ours))
        except (Unavailable, NotWhole) as exc:
            _say(f"power losses cannot be played through here: {exc}")
            return 1
    _say(_verdict(done))
    return 0 if all(found.holds for found in done) else 1


def _verdict(done: Sequence[Figures]) -> str:
    ours = [found for found in done if found.durability in OURS]
    planted = [found for found in done if found.durability in PLANTED]
    told = ", ".join(f"{found.durability.name} {found.lost}/{found.damaged}" for found in planted)
    return (
        f"{sum(found.cuts for found in done)} power losses; ours: {sum(found.cuts for found in ours)}, "
        f"{sum(found.lost for found in ours)} with a loss, {sum(found.damaged for found in ours)} with damage; "
        f"wrong settings, which must be seen to lose (with a loss/with damage): {told or 'none'}"
        f"{'' if all(found.holds for found in done) else ' FALLS SHORT'}"
    )


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 - this is a command, its lines are its result


if __name__ == "__main__":
    sys.exit(main())
