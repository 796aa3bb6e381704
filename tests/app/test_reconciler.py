"""A store that was restored from a backup: what was sent after the backup is found before anything is sent again."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, request
from polling_setup import poll_once
from sending_setup import send_once
from sqlalchemy import Connection

from tracking import ingest
from tracking.app.reconciler import Reconciler
from tracking.errors import NotAllowed, NotSent, ProviderError, StoreBusy, Throttled
from tracking.forecasting.planner import PlanningContext
from tracking.polling.discovery import Discovery
from tracking.polling.poller import Poller
from tracking.storage import database, engines, facts
from tracking.storage.database import Database
from tracking.storage.maintenance import backup, restore_mark, verify
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import ORDERS, OUTBOX
from tracking.submissions.sender import Sender

LATER = ("late-0", "late-1")


class Killed(BaseException):
    """The process ends here."""


class Console:
    """What of a console sends, looks and reconciles, over one store."""

    def __init__(self, store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> None:
        self.store, self.clock, self.provider = store, clock, provider
        named: dict[str, Any] = {"owner": "here/1/a", "lease": timedelta(seconds=30), "clock": clock}
        self.sender = Sender(store, provider, planner, address=lambda _po: None, wake=lambda: None, **named)
        discovery = Discovery(store, provider, planner, every=timedelta(seconds=30))
        self.poller = Poller(store, provider, planner, **named)
        self.reconciler = Reconciler(store, discovery, self.sender, clock)

    def place(self, *po_numbers: str) -> None:
        def job(connection: Connection) -> None:
            for po_number in po_numbers:
                asked = request(po_number)
                ingest.place(connection, asked, source="csv", actor=None, now=self.clock.now)

        self.store.write(job)

    def send(self) -> int:
        return asyncio.run(send_once(self.sender, self.clock.now))

    def turn(self) -> None:
        asyncio.run(self.reconciler.reconcile())

    def starts(self, rounds: int = 3) -> None:
        """All that happens before and while it sends, until nothing is left to do."""
        asyncio.run(self._starts(rounds))

    async def _starts(self, rounds: int = 3) -> None:
        await self.reconciler.detect_restore()
        for _ in range(rounds):
            await self.sender.recover(self.clock.now)
            await self.reconciler.reconcile()
            while await send_once(self.sender, self.clock.now):
                pass
            await poll_once(self.poller, self.clock.now)

    @property
    def mark(self) -> restore_mark.RestoreMark | None:
        with self.store.read() as connection:
            return restore_mark.find_mark(connection)

    def fact(self, key: str) -> Any:
        with self.store.read() as connection:
            kept = facts.get_fact(connection, key)
        return kept and kept[1]

    def states(self) -> dict[str, tuple[str, bool | None]]:
        wanted = sa.select(ORDERS.c.po_number, ORDERS.c.state, OUTBOX.c.done).outerjoin(
            OUTBOX, OUTBOX.c.order_id == ORDERS.c.id
        )
        with self.store.read() as connection:
            return {row.po_number: (row.state, row.done) for row in connection.execute(wanted)}


Make = Callable[[Database], Console]


@pytest.fixture
def make(provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Make:
    provider.knows_duplicates = False
    return lambda store: Console(store, provider, planner, clock)


@pytest.fixture
def first(migrated_file: Path, sqlite_url: str, make: Make) -> Iterator[Console]:
    """A console that sent two orders and holds six more; then comes the backup."""
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    store = database.connect(sqlite_url)
    console = make(store)
    console.place("early-0", "early-1")
    console.send()
    console.place(*(f"po-{number}" for number in range(6)))
    yield console
    store.close()


def an_hour_passes(console: Console) -> None:
    """The console goes on after the backup: what it held is sent, and more comes in and is sent."""
    while console.send():
        pass
    console.clock.pass_by(minutes=20)
    console.place(*LATER)
    while console.send():
        pass
    console.clock.pass_by(minutes=40)


@pytest.fixture
def copy(first: Console, tmp_path: Path) -> Path:
    """A backup that is an hour old."""
    made = tmp_path / "backup.db"
    backup.backup(first.store.url, made, first.clock.now)
    an_hour_passes(first)
    return made


@pytest.fixture
def restore(make: Make, tmp_path: Path) -> Iterator[Callable[[Path], Console]]:
    """Puts a copy in the place of a store and opens it."""
    stores: list[Database] = []

    def opened(copied: Path) -> Console:
        place = tmp_path / f"restored-{len(stores)}.db"
        shutil.copy(copied, place)
        stores.append(Database(f"sqlite:///{place}"))
        return make(stores[-1])

    yield opened
    for store in stores:
        store.close()


Restore = Callable[[Path], Console]


def ordered_once(provider: FakeProvider) -> set[str]:
    """The PONumbers at the provider, none of them twice."""
    counted = Counter(order["PONumber"] for order in provider.kept.values())
    assert {name for name, times in counted.items() if times > 1} == set()
    return set(counted)


def test_nothing_is_sent_from_a_restored_store_before_it_is_reconciled(
    copy: Path, restore: Restore, provider: FakeProvider
) -> None:
    console = restore(copy)
    sent = len(provider.called("place"))
    assert console.send() == 0
    assert len(provider.called("place")) == sent
    assert console.mark is not None


def test_what_was_sent_after_the_backup_is_known_again_and_not_sent_again(
    copy: Path, restore: Restore, provider: FakeProvider, clock: Clock
) -> None:
    console = restore(copy)
    sent = len(provider.called("place"))
    console.turn()
    assert console.mark is None
    assert console.fact("restored") == {"taken_at": (clock.now - timedelta(hours=1)).isoformat(), "found": 8}
    assert console.send() == 0
    assert len(provider.called("place")) == sent
    assert console.states() == {
        **{f"early-{number}": ("Pending", True) for number in range(2)},
        **{f"po-{number}": ("Pending", True) for number in range(6)},
        **dict.fromkeys(LATER, ("Pending", None)),
    }
    assert verify.verify(console.store) == []


def test_a_file_that_is_handed_in_again_orders_nothing_twice_before_or_after(
    copy: Path, restore: Restore, provider: FakeProvider
) -> None:
    before, after = restore(copy), restore(copy)
    before.place(*LATER, "never-sent")
    before.starts()
    assert ordered_once(provider) >= {*LATER, "never-sent"}
    after.starts()
    with pytest.raises(NotAllowed, match="exists"):
        after.place(*LATER)
    after.starts()
    assert len(ordered_once(provider)) == 2 + 6 + 2 + 1
    for console in (before, after):
        assert verify.verify(console.store) == []


def test_what_the_list_does_not_show_is_found_by_its_po_number(
    copy: Path, restore: Restore, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that forgets, or bounds its dates in another way than is known, must not lead to a second order."""
    listed = provider._matches

    def forgetful(read: Any, start: Any, end: Any, po_number: Any) -> bool:
        return po_number is not None and listed(read, start, end, po_number)

    monkeypatch.setattr(provider, "_matches", forgetful)
    console = restore(copy)
    console.place(*LATER)
    console.starts()
    assert len(ordered_once(provider)) == 10
    assert console.mark is None
    assert set(console.states().values()) == {("Pending", True)}


def test_what_is_handed_in_while_it_is_reconciled_is_looked_up_too(
    copy: Path, restore: Restore, provider: FakeProvider
) -> None:
    console = restore(copy)
    console.place("first")

    def hand_in(_page: int) -> None:
        if len(provider.called("orders")) == 2:
            console.place("second")

    provider.inserting = hand_in
    console.starts()
    assert [call["po_number"] for call in provider.called("orders")] == [None, "first", "second"]
    assert len(ordered_once(provider)) == 12


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(NotSent("no connection"), 5), (Throttled("wait", status=429, retry_after=timedelta(seconds=77)), 77)],
)
def test_it_waits_for_a_provider_that_cannot_be_reached_and_looks_go_on(
    copy: Path, restore: Restore, provider: FakeProvider, clock: Clock, error: ProviderError, seconds: float
) -> None:
    console = restore(copy)
    provider.will("orders", error)
    console.turn()
    calls = len(provider.calls)
    assert console.mark is not None
    assert console.mark.trouble == str(error)
    clock.pass_by(seconds=seconds - 1)
    console.turn()
    assert len(provider.calls) == calls
    assert asyncio.run(poll_once(console.poller, clock.now)) > 0, "looks do not wait"
    assert console.send() == 0
    clock.pass_by(seconds=1)
    console.turn()
    assert console.mark is None


def test_the_wait_grows_while_the_provider_stays_away_and_a_clock_set_back_does_not_lengthen_it(
    copy: Path, restore: Restore, provider: FakeProvider, clock: Clock
) -> None:
    console = restore(copy)
    waits = []
    for _ in range(9):
        provider.will("orders", NotSent("no connection"))
        calls, waited = len(provider.calls), 0
        while len(provider.calls) == calls:
            clock.pass_by(seconds=5)
            waited += 5
            console.turn()
        waits.append(waited)
    assert waits == [5, 5, 10, 20, 40, 80, 160, 300, 300]
    clock.pass_by(hours=-1)
    console.turn()
    assert console.mark is None


def test_an_order_that_cannot_be_looked_up_holds_back_what_waits(
    copy: Path, restore: Restore, provider: FakeProvider, clock: Clock
) -> None:
    console = restore(copy)
    console.place("new")
    provider.will("orders", None, NotSent("no connection"))
    console.turn()
    assert console.mark is not None
    assert console.mark.walked
    assert console.send() == 0
    clock.pass_by(seconds=5)
    console.starts()
    assert [call["po_number"] for call in provider.called("orders") if call["po_number"]] == ["new", "new"]
    assert len(ordered_once(provider)) == 11


class Perishable(Database):
    """A store whose process is killed before the given write: to be killed after the one before it is the same."""

    writes_left = 10_000

    def __init__(self, url: str) -> None:
        super().__init__(url)
        # It is the process that is lost here, not the power.
        sa.event.listen(self._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))

    def submit(self, job: Callable[[Connection], Any], *, orders: Iterable[int | str] = ()) -> Future[Any]:
        self.writes_left -= 1
        if self.writes_left == 0:
            raise Killed
        return super().submit(job, orders=orders)


def test_it_may_be_killed_at_every_step(
    copy: Path,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    tmp_path: Path,
) -> None:
    kills = 0
    while True:
        place = tmp_path / f"perishable-{kills}.db"
        shutil.copy(copy, place)
        store = Perishable(f"sqlite:///{place}")
        try:
            console = Console(store, provider, planner, clock)
            console.place(*LATER)
            store.writes_left = kills + 1
            try:
                console.starts()
            except Killed:
                store.writes_left = 10_000
                clock.pass_by(minutes=2)
                Console(store, provider, planner, clock).starts()
            else:
                break
            assert len(ordered_once(provider)) == 10
            assert verify.verify(store) == []
        finally:
            store.close()
        kills += 1
    assert kills > 10


# A copy that carries no mark


def test_an_older_file_put_in_place_is_noticed_by_the_file_beside_it(
    first: Console, make: Make, provider: FakeProvider, tmp_path: Path
) -> None:
    with (
        contextlib.closing(dbapi.connect(tmp_path / "tracking.db")) as source,
        contextlib.closing(dbapi.connect(tmp_path / "raw copy")) as target,
    ):
        source.backup(target)
    an_hour_passes(first)
    restore_mark.note_progress(first.store)
    first.store.close()
    shutil.copy(tmp_path / "raw copy", tmp_path / "tracking.db")
    store = Database(first.store.url)
    try:
        console = make(store)
        console.place(*LATER)
        console.starts()
        assert len(ordered_once(provider)) == 10
        assert console.fact("restored")["found"] == 8
        assert verify.verify(store) == []
        assert not restore_mark.detect(store, console.clock.now), "the same loss is noticed once"
    finally:
        store.close()


def test_a_store_that_came_further_is_not_taken_for_a_restored_one(first: Console) -> None:
    asyncio.run(first.reconciler.detect_restore())
    first.turn()
    file = Path(f"{engines.file_of(first.store.url)}.newest")
    assert int(file.read_text()) > 0
    first.place("one-more")
    asyncio.run(first.reconciler.detect_restore())
    assert first.mark is None
    first.turn()
    told = int(file.read_text())
    first.clock.pass_by(seconds=10)
    first.turn()
    assert int(file.read_text()) == told + 1


@pytest.mark.parametrize("content", ["", "garbage\n"])
def test_a_sign_that_cannot_be_read_says_nothing(first: Console, content: str) -> None:
    file = Path(f"{engines.file_of(first.store.url)}.newest")
    file.write_text(content)
    assert not restore_mark.detect(first.store, first.clock.now)
    restore_mark.note_progress(first.store)
    assert int(file.read_text()) > 0


def test_sending_does_not_begin_before_the_store_told_whether_it_was_restored(
    first: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[StoreBusy | None] = [StoreBusy("locked"), StoreBusy("locked"), None]
    waits: list[float] = []

    def detect(*_: Any) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(restore_mark, "detect", detect)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(first.reconciler.detect_restore())
    assert (outcomes, waits) == ([], [1.0, 1.0])


# On each engine


def test_a_store_is_marked_by_hand_and_the_earlier_time_counts(store: Database, make: Make, clock: Clock) -> None:
    console = make(store)
    for hours in (1, 3, 2):
        taken = clock.now - timedelta(hours=hours)
        store.write(partial(restore_mark.mark_restored, taken_at=taken, now=clock.now))
    assert console.mark == restore_mark.RestoreMark(clock.now - timedelta(hours=3), 0)
    console.place("po-0")
    console.starts()
    assert console.states() == {"po-0": ("Pending", True)}
    assert console.fact("copied") is None


def test_two_consoles_reconcile_the_same_store(
    store: Database, make: Make, provider: FakeProvider, clock: Clock
) -> None:
    consoles = [make(store), make(store)]
    consoles[0].place(*(f"po-{number}" for number in range(20)))
    store.write(lambda connection: restore_mark.mark_restored(connection, clock.now, clock.now))

    async def together() -> None:
        await asyncio.gather(*(console._starts() for console in consoles))

    asyncio.run(together())
    assert len(ordered_once(provider)) == 20
    assert consoles[0].mark is None
