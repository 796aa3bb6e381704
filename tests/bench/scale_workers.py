"""How workers share one PostgreSQL store: 1, 2 and 4 of them place orders, take callbacks and look, against one alone.

    make bench-workers                   five minutes, and the last part of make bench-scale (ARGS="--orders 300")

Starts the PostgreSQL server of the test extra, a provider in a process of its own and `tracking worker` processes, each
with its own port, and a new store for each number of workers. First each role by itself, then all of them together.
Server, provider and workers share this machine's processors, so a rate says little where they are few: the orders for
each second of processor that all workers used together do not depend on how many there are, and how busy the machine
was in all says whether there was processor left for another worker.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE), str(HERE.parents[1])]

import psycopg  # noqa: E402 - found through the lines above, as are those that follow
from bench_flood import Stream, claim, cpu, request  # noqa: E402 - the same
from cryptography.fernet import Fernet  # noqa: E402 - the same
from postgres_server import new_database, running  # noqa: E402 - the same
from processes.children import Child, Nursery, free_port, provider_settings, until  # noqa: E402 - the same
from processes.over_http import store_of, submit  # noqa: E402 - the same
from sqlalchemy import func, make_url, select, text, update  # noqa: E402 - the same

from tracking.storage import engines  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.maintenance.verify import verify  # noqa: E402 - the same
from tracking.storage.tables import CALLBACKS, ORDERS  # noqa: E402 - the same
from tracking.submissions.requests import read_request  # noqa: E402 - the same
from tracking.webhooks import addresses  # noqa: E402 - the same

ORDERS_OF_A_RUN, WORKERS = 1000, (1, 2, 4)
SECRET = "a secret for this measurement alone"
MILLISECONDS = 20  # that the provider takes to answer
RATE = 1000  # calls a second, which is more than is ever reached here
IN_FLIGHT = 64  # callbacks
CALLBACKS_OF_AN_ORDER = 4  # one of each is over in half a second, which is no measure
SAMPLED_EVERY = 0.05
LONGEST = 300.0  # seconds for one phase
COUNTED_AFTER = 1.1  # seconds: a session tells what it did about once a second
SETTLED_AFTER = 2.0  # seconds from when a worker is ready until all it imports and asks for at first is there
# Of what one worker does, by this many workers. Where no processor is left for another of them, less will do: all of
# them then share what there is, and the work is cut into smaller commits.
NO_LESS, NO_LESS_ON_FULL_PROCESSORS, FULL = 1.0, 0.8, 0.9
PHASES = ("placed", "callbacks", "looks", "together")
_STATISTICS = (
    "SELECT deadlocks, n_tup_upd, n_tup_hot_upd FROM pg_stat_database, pg_stat_user_tables"
    " WHERE datname = current_database() AND relname = 'orders'"
)
_AT_WORK = "SELECT wait_event_type FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND pid <> %s"


@dataclass
class Figures:
    """What so many workers did in one phase.

    Attributes:
        seconds: how long it took by the clock.
        worked: processor seconds of all workers together.
        served: processor seconds of the provider.
        waits: how many of the server's sessions that were at work waited for a lock, a disk and so on, by sample.
        busy: the share of the machine's processors that was used, by whomever.
        in_place: the share of the updates of orders' rows that touched no index.
    """

    workers: int
    phase: str
    done: int
    seconds: float
    worked: float
    served: float
    deadlocks: int
    busy: float
    in_place: float
    waits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_all(cls, turns: Sequence["Figures"]) -> "Figures":
        """What the same number of workers did in the same phase, turn by turn, taken together."""
        seconds = sum(each.seconds for each in turns)
        busy, in_place = (
            sum(getattr(each, name) * each.seconds for each in turns) / seconds for name in ("busy", "in_place")
        )
        return cls(
            turns[0].workers,
            turns[0].phase,
            sum(each.done for each in turns),
            seconds,
            sum(each.worked for each in turns),
            sum(each.served for each in turns),
            sum(each.deadlocks for each in turns),
            busy,
            in_place,
            sum((each.waits for each in turns), Counter()),
        )

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.done / self.seconds

    @property
    def for_a_processor(self) -> float:
        """How many for each second of processor that the workers used."""
        return self.done / self.worked if self.worked else 0.0

    def waited_for(self, what: str) -> float:
        """Which share of the sessions at work waited for "Lock" (another session) or "IO" (the disk)."""
        return self.waits[what] / max(self.waits.total(), 1)


class Site(Nursery):
    """A store on the server, and the processes that work on it."""

    def __init__(self, folder: Path, server: str, database_url: str, *, sandbox: bool) -> None:
        super().__init__(folder)
        self._server, self._url = server, database_url
        self._name = str(make_url(database_url).database)
        self._own = database_url.replace("+psycopg", "")
        self.provider = self.sandbox(speed=1e6) if sandbox else self._light_provider()
        self._common = provider_settings(self.provider.url) | {
            "API_MAX_RATE": RATE, "WEBHOOK_SECRET": SECRET, "CLAIMS_KEY": Fernet.generate_key().decode(),
            "DISCOVER_EVERY": 0,
        }  # fmt: skip

    @property
    def database_url(self) -> str:
        """The address of the store that all workers share."""
        return self._url

    def _light_provider(self) -> Child:
        port = free_port()
        command = [sys.executable, str(HERE / "light_provider.py"), str(port), str(MILLISECONDS)]
        return self.serve(command, port, {}).ready("/v1/Products")

    @contextlib.contextmanager
    def at_work(self, workers: int, roles: str) -> Iterator[list[Child]]:
        """So many workers of these roles, ready, until the block ends."""
        started = [self.worker(self._common | {"ROLES": roles}) for _ in range(workers)]
        try:
            for each in started:
                each.ready()
            threading.Event().wait(SETTLED_AFTER)
            yield started
        finally:
            codes = [each.stop() for each in started]
        assert codes == [0] * workers, f"workers ended with {codes}: {started[0].said[-2000:]}"

    def measure(self, workers: Sequence[Child], phase: str, act: Callable[[], int]) -> Figures:
        """Does it, which returns how many were done, while it is noted what it takes."""
        before = self._statistics()
        with self._sampled() as waits:
            began, worked, served = time.monotonic(), sum(map(cpu, workers)), cpu(self.provider)
            machine = _machine()
            done = act()
            seconds = time.monotonic() - began
            busy, idle = (now - then for now, then in zip(_machine(), machine, strict=True))
            worked, served = sum(map(cpu, workers)) - worked, cpu(self.provider) - served
        threading.Event().wait(COUNTED_AFTER)
        deadlocks, updates, in_place = (now - then for now, then in zip(self._statistics(), before, strict=True))
        shares = busy / max(busy + idle, 1), in_place / max(updates, 1)
        return Figures(len(workers), phase, done, seconds, worked, served, deadlocks, *shares, waits)

    def _statistics(self) -> tuple[int, ...]:
        """Deadlocks, updates of orders' rows, and how many of these touched no index; all since the store was made."""
        with psycopg.connect(self._own, autocommit=True) as connection:
            return connection.execute(_STATISTICS).fetchone() or (0, 0, 0)

    @contextlib.contextmanager
    def _sampled(self) -> Iterator[Counter[str]]:
        """Counts what the server's sessions wait for, time after time, until the block ends."""
        waits, over = Counter[str](), threading.Event()

        def sample() -> None:
            with psycopg.connect(self._server, autocommit=True) as connection:
                asked = [self._name, connection.info.backend_pid]
                while not over.wait(SAMPLED_EVERY):
                    waits.update(row[0] or "processor" for row in connection.execute(_AT_WORK, asked))

        sampling = threading.Thread(target=sample)
        sampling.start()
        try:
            yield waits
        finally:
            over.set()
            sampling.join()


def _machine() -> tuple[int, int]:
    """How long the machine's processors have worked and been idle since it started, in ticks of the kernel."""
    used, nice, system, idle, disk, *others = map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9])
    return used + nice + system + sum(others), idle + disk


def hand_in(store: Database, first: int, count: int) -> None:
    """Made-up orders of one card each, committed as a form does, a hundred at a time."""
    for start in range(first, first + count, 100):
        wanted = range(start, min(start + 100, first + count))
        submit(store, [_request(number) for number in wanted])


def _request(number: int) -> Any:
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
    return read_request({"Type": "Links", "PONumber": f"SHARED-{number:06d}", "LineItems": [line]})


def counted(store: Database, condition: Any) -> int:
    """How many orders, or callbacks, the condition holds for."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).where(condition)).scalar_one())


def wait_for(store: Database, what: str, condition: Any, count: int) -> int:
    """Waits until the condition holds for so many; returns the number."""
    until(what, lambda: counted(store, condition) >= count, within=LONGEST)
    return count


def call_back(workers: Sequence[Child], po_numbers: Sequence[str], *stamps: str) -> int:
    """One callback for each order and stamp, IN_FLIGHT at once, in turn to each worker; returns how many were taken."""
    ports = [int(one.url.rpartition(":")[2]) for one in workers]
    return asyncio.run(_call_back(ports, [(po_number, stamp) for stamp in stamps for po_number in po_numbers]))


async def _call_back(ports: Sequence[int], calls: Sequence[tuple[str, str]]) -> int:
    waiting = iter(calls)

    async def one_after_the_other(stream: Stream) -> int:
        accepted = 0
        for po_number, stamp in waiting:
            path = f"/webhooks/fulfillment/{addresses.make_token(po_number, SECRET)}"
            accepted += b" 204 " in await stream.ask(request(path, claim(po_number, stamp)))
        stream.close()
        return accepted

    streams = [Stream(port, "127.0.0.1") for port in itertools.islice(itertools.cycle(ports), IN_FLIGHT)]
    return sum(await asyncio.gather(*map(one_after_the_other, streams)))


def measure_workers(
    orders: int = ORDERS_OF_A_RUN, counts: Sequence[int] = WORKERS, *, sandbox: bool = False, durable: bool = True
) -> Iterator[Figures]:
    """The figures of each phase for each number of workers; the provider is a light one or the simulated one.

    Raises AssertionError where a phase does not end, a callback is refused or a store does not agree with its log.
    """
    with running(durable=durable) as server, tempfile.TemporaryDirectory(prefix="tracking-workers-") as folder:
        template = new_database(server)
        engines.migrate(template)
        # There and back, as machines get slower and quicker: no number of workers is measured at one time alone.
        for turn, workers in enumerate([*counts, *reversed(counts)]):
            url = new_database(server, str(make_url(template).database))
            (place := Path(folder) / str(turn)).mkdir()
            site = Site(place, server, url, sandbox=sandbox)
            try:
                with store_of(url) as store:
                    yield from _phases(site, store, workers, orders)
                    assert (wrong := verify(store)) == [], wrong
            finally:
                site.end()


def _phases(site: Site, store: Database, workers: int, orders: int) -> Iterator[Figures]:
    accepted, completed = ORDERS.c.provider_id.is_not(None), ORDERS.c.completed_by.is_not(None)

    def place() -> int:
        hand_in(store, 0, orders)
        return wait_for(store, "orders to be placed", accepted, orders)

    def look() -> int:
        store.write(lambda connection: connection.execute(update(ORDERS).values(lease_until=None)).rowcount)
        return wait_for(store, "orders to be completed", completed, orders)

    with site.at_work(workers, "sender") as started:
        yield site.measure(started, "placed", place)
    po_numbers = [f"SHARED-{number:06d}" for number in range(orders)]
    with site.at_work(workers, "webhooks") as started:
        stamps = [f"11/23/2026 03:{minute:02}:00 AM" for minute in range(CALLBACKS_OF_AN_ORDER)]
        yield site.measure(started, "callbacks", lambda: call_back(started, po_numbers, *stamps))
    assert counted(store, CALLBACKS.c.outcome == "accepted") == orders * CALLBACKS_OF_AN_ORDER
    # Under a lease nothing is looked at before all workers are ready.
    held = update(ORDERS).values(lease_until=text("now() + interval '10 minutes'"))
    store.write(lambda connection: connection.execute(held).rowcount)
    with site.at_work(workers, "poller") as started:
        yield site.measure(started, "looks", look)
    with site.at_work(workers, "sender,webhooks,poller") as started:
        yield site.measure(started, "together", lambda: _together(site, store, started, orders))


def _together(site: Site, store: Database, workers: Sequence[Child], orders: int) -> int:
    """As many orders again through their whole life: handed in, placed, called back as they are placed, completed."""
    handing_in = threading.Thread(target=hand_in, args=(store, orders, orders))
    handing_in.start()
    called = set[str]()
    fresh = select(ORDERS.c.po_number).where(ORDERS.c.provider_id.is_not(None), ORDERS.c.id > orders)
    end = time.monotonic() + LONGEST
    try:
        while len(called) < orders and time.monotonic() < end:
            with store.read() as connection:
                placed = [po for po in connection.execute(fresh).scalars() if po not in called]
            called.update(placed)
            call_back(workers, placed, "11/23/2026 04:09:00 AM")
            threading.Event().wait(0.1)
    finally:
        handing_in.join()
    wait_for(store, "orders to be completed", ORDERS.c.completed_by.is_not(None), 2 * orders)
    return orders


COLUMNS = (
    ("workers", 7), ("phase", 10), ("a second", 9), ("of one", 7), ("a processor second", 19), ("of one", 7),
    ("busy", 5), ("provider", 9), ("locked", 7), ("disk", 5), ("in place", 9), ("deadlocks", 10),
)  # fmt: skip


def report(measured: Iterator[Figures]) -> list[str]:
    """Prints a line for each phase as it comes, then what all turns together show; returns what is missed of that."""
    print(" ".join(name.rjust(width) for name, width in COLUMNS))
    found: dict[tuple[int, str], list[Figures]] = {}
    first: dict[str, Figures] = {}
    for each in measured:
        found.setdefault((each.workers, each.phase), []).append(each)
        _print(each, first.setdefault(each.phase, each))
    print("all turns together:")
    missed, fewest = [], min(workers for workers, _ in found)
    for (workers, phase), turns in found.items():
        all_turns, alone = Figures.of_all(turns), Figures.of_all(found[fewest, phase])
        _print(all_turns, alone)
        if all_turns.deadlocks:
            missed.append(f"{workers} workers, {phase}: {all_turns.deadlocks} deadlocks")
        against = all_turns.rate / alone.rate
        if against < (NO_LESS_ON_FULL_PROCESSORS if all_turns.busy >= FULL else NO_LESS):
            busy = f"{all_turns.busy:.0%} of the processors were busy"
            missed.append(f"{workers} workers, {phase}: {against:.2f} of one, while {busy}")
    return missed


def _print(each: Figures, one: Figures) -> None:
    against = each.rate / one.rate, each.for_a_processor, each.for_a_processor / max(one.for_a_processor, 1e-9)
    waits = each.waited_for("Lock"), each.waited_for("IO")
    figures = (each.rate, *against, each.busy, each.served / each.seconds, *waits, each.in_place)
    cells = (str(each.workers), each.phase, *(f"{figure:.2f}" for figure in figures), str(each.deadlocks))
    print(" ".join(cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where two workers and four do no less than one, without a deadlock, as far as there is a processor for them."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--orders", type=int, default=ORDERS_OF_A_RUN, help="of each phase")
    options.add_argument(
        "--workers", type=int, nargs="+", default=WORKERS, help="numbers of workers, one after another"
    )
    options.add_argument("--forgetful", action="store_true", help="the server waits for no disk")
    options.add_argument("--sandbox", action="store_true", help="the simulated provider in place of a light one")
    chosen = options.parse_args(arguments)
    print(f"{os.cpu_count()} processors; {chosen.orders} orders in each phase", flush=True)
    missed = report(
        measure_workers(chosen.orders, chosen.workers, sandbox=chosen.sandbox, durable=not chosen.forgetful)
    )
    print("\n".join(missed) or "as it is to be", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
