"""Runs histories, shrinks those that fail, and shows that planted faults are found: `make sim` and `make mutants`."""

import argparse
import gc
import itertools
import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters import StoreFile
from evidence import Violation
from mutants import MUTANTS
from planting import Mutant
from world import Outcome, World

PROCESSES = 2
CHUNK = 25
SHRINKING_RUNS = 400
COLLECT_EVERY = 200


class Histories:
    """Runs one history after the other in one store file."""

    def __init__(self) -> None:
        # In memory where the system offers it: what is simulated here is not the disk.
        shared = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(prefix="tracking-sim-", dir=shared if shared.is_dir() else None))
        self.file = StoreFile(self._folder)
        self._runs = 0
        self._levels = {name: logging.getLogger(name).level for name in ("tracking", "asyncio")}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def run(self, seed: int, dropped: frozenset[str] = frozenset(), *, telling: bool = False) -> Outcome:
        """One history. The same arguments give the same outcome."""
        self._runs += 1
        if self._runs % COLLECT_EVERY == 0:
            gc.collect()
        return World(self.file, seed, dropped, telling=telling).run()

    def close(self) -> None:
        self.file.close()
        shutil.rmtree(self._folder)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def __enter__(self) -> "Histories":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shrunk(histories: Histories, failed: Outcome) -> Outcome:
    """The same violation with as few steps and mishaps as can be found, told in words."""
    assert failed.violation is not None
    wanted, runs = failed.violation.invariant, 0
    dropped: frozenset[str] = frozenset()
    best = failed
    size = max(1, len(best.steps + best.mishaps) // 2)
    while size and runs < SHRINKING_RUNS:
        names = [*best.steps, *best.mishaps]
        for start in range(0, len(names), size):
            runs += 1
            tried = dropped | set(names[start : start + size])
            outcome = histories.run(failed.seed, tried)
            if outcome.violation is not None and outcome.violation.invariant == wanted:
                dropped, best = tried, outcome
                break
        else:
            size //= 2
    return histories.run(failed.seed, dropped, telling=True)


def told(outcome: Outcome) -> str:
    """The history in plain words."""
    head = f"seed {outcome.seed}: {outcome.violation or 'no violation'} (digest {outcome.digest:08x})"
    return "\n".join([head, *(f"  {line}" for line in outcome.story)])


@dataclass(slots=True)
class Tally:
    """What many histories add up to."""

    histories: int = 0
    crashes: int = 0
    calls: int = 0
    hours: float = 0.0
    failed: list[int] = field(default_factory=list)
    mishaps: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.histories += 1
        self.crashes += outcome.crashes
        self.calls += outcome.calls
        self.hours += outcome.virtual_seconds / 3600
        self.mishaps.update(name.rpartition(": ")[2] for name in outcome.mishaps)
        if outcome.violation is not None:
            self.failed.append(outcome.seed)

    def merge(self, other: "Tally") -> None:
        self.histories += other.histories
        self.crashes += other.crashes
        self.calls += other.calls
        self.hours += other.hours
        self.failed += other.failed
        self.mishaps += other.mishaps


_worker: list[Histories] = []


def _begin_worker() -> None:
    _worker.append(Histories())
    gc.collect()
    gc.freeze()
    gc.disable()


def _chunk(seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        tally.add(_worker[0].run(seed))
    return tally


def _fate_of(index: int, most: int) -> tuple[int, int, str]:
    """The mutant, the seed at which it died or -1, and what found it."""
    seed, violation = killed(_worker[0], MUTANTS[index], most)
    return index, seed, str(violation or "")


def killed(histories: Histories, mutant: Mutant, most: int, *, first: int = 0) -> tuple[int, Violation | None]:
    """A seed below `most` that finds the planted fault, and the violation; -1 where none does.

    It is the first from `first` on, of all that come after it and then of those before it.
    """
    with mutant.plant():
        for seed in (*range(first, most), *range(first)):
            if violation := histories.run(seed).violation:
                return seed, violation
    return -1, None


def _pool(processes: int) -> "multiprocessing.pool.Pool":
    # Not forked: no connection of SQLite may be open in two processes.
    return multiprocessing.get_context("spawn").Pool(processes, _begin_worker)


def run_seeds(first: int, count: int, processes: int) -> int:
    """Runs the seeds; says which failed, the first of them shrunk. Returns the exit code."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    tally = Tally()
    with _pool(processes) as pool:
        results = pool.imap_unordered(_chunk, chunks)
        began: float | None = None
        for number, part in enumerate(results):
            # The first chunks also pay for imports and compiled statements: the pace is that of the rest.
            began = began or time.perf_counter()
            tally.merge(part)
            if number % 40 == 39:
                print(f"{tally.histories} seeds, {len(tally.failed)} failed", file=sys.stderr, flush=True)
    pace = (tally.histories - CHUNK) / max(time.perf_counter() - (began or 0.0), 1e-9)
    if tally.failed:
        print("failed:", ", ".join(map(str, sorted(tally.failed)[:50])))
        with Histories() as histories:
            print(told(shrunk(histories, histories.run(min(tally.failed)))))
    kinds = len(tally.mishaps)
    print(
        f"sim: {tally.histories} seeds, {tally.crashes} crashes, {tally.calls} calls,"
        f" {tally.mishaps.total()} mishaps of {kinds} kinds, {tally.hours:.0f} virtual hours,"
        f" {pace:.0f} seeds/s, {len(tally.failed)} with a violation"
    )
    return 1 if tally.failed else 0


def run_mutants(most: int, processes: int, names: Sequence[str]) -> int:
    """Plants each fault in turn. Returns the exit code: 1 where one survives."""
    chosen = [index for index, mutant in enumerate(MUTANTS) if not names or mutant.name in names]
    fates: list[tuple[int, int, str]] = []
    with _pool(processes) as pool:
        waiting = [pool.apply_async(_fate_of, (index, most)) for index in chosen]
        for result in waiting:
            index, seed, by = result.get()
            fates.append((index, seed, by))
            fate = f"seed {seed:4}  {by[:100]}" if seed >= 0 else "SURVIVED"
            print(f"{MUTANTS[index].name:18} {fate}", flush=True)
    survived = [MUTANTS[index].name for index, seed, _ in fates if seed < 0]
    latest = max((seed + 1 for _, seed, _ in fates), default=0)
    print(
        f"mutants: {len(fates) - len(survived)} of {len(fates)} killed, the hardest within {latest} seeds"
        + (f"; survived: {', '.join(survived)}" if survived else "")
    )
    return 1 if survived else 0


def show(seed: int, mutant: str | None) -> int:
    """One history in words, shrunk where it fails."""
    planted = {one.name: one for one in MUTANTS}
    with Histories() as histories:
        if mutant is not None:
            with planted[mutant].plant():
                outcome = _shown(histories, seed)
        else:
            outcome = _shown(histories, seed)
    print(told(outcome))
    return 1 if outcome.violation else 0


def _shown(histories: Histories, seed: int) -> Outcome:
    outcome = histories.run(seed, telling=True)
    return shrunk(histories, outcome) if outcome.violation else outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line behind the make targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("seeds", "mutants", "show"))
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds; for mutants, how many at the most")
    parser.add_argument("--first", type=int, default=0, help="the first seed, or the one to show")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--mutant", action="append", default=[], help="only this mutant")
    given = parser.parse_args(arguments)
    if given.what == "show":
        return show(given.first, next(iter(given.mutant), None))
    if given.what == "mutants":
        return run_mutants(given.seeds, given.processes, given.mutant)
    return run_seeds(given.first, given.seeds, given.processes)


def fresh_seeds(count: int) -> Iterator[int]:
    """Seeds nobody has run before."""
    return itertools.islice(itertools.count(time.time_ns() % 10**9), count)


if __name__ == "__main__":
    sys.exit(main())
