import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from fakes import line, request, shown
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import NotAllowed, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.storage import facts, inbox, leases, outbox
from tracking.storage import orders as writes
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, COUNTERS, EVENTS, LINES, ORDERS, OUTBOX

LEASE = timedelta(seconds=60)


def place(store: Database, count: int, now: datetime) -> list[int]:
    return store.write(
        lambda connection: [
            ingest.place(connection, request(f"po-{number:05}"), source="form", actor=None, now=now)
            for number in range(count)
        ]
    )


def claim(store: Database, owner: str, now: datetime, limit: int = 100) -> list[int]:
    rows = store.write(lambda connection: outbox.lease_outbox(connection, now, owner=owner, lease=LEASE, limit=limit))
    return [row["order_id"] for row in rows]


def claim_looks(store: Database, owner: str, now: datetime, limit: int = 100) -> list[int]:
    with store.read() as connection:
        every = list(connection.execute(sa.select(ORDERS.c.id).order_by(ORDERS.c.id)).scalars())[:limit]
    rows = store.write(
        lambda connection: writes.lease_polls(connection, every, now, owner=owner, lease=LEASE, chosen_at=now)
    )
    return sorted(row["id"] for row in rows)


def discovered(store: Database, count: int, now: datetime, planner: PlanningContext) -> list[int]:
    """Orders placed elsewhere, all due for a look."""

    def job(connection: Connection) -> list[int]:
        for number in range(count):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number:05}"), now, now, planner)
        connection.execute(sa.update(ORDERS).values(next_look_at=now))
        return sorted(connection.execute(sa.select(ORDERS.c.id)).scalars())

    return store.write(job)


def count(store: Database, table: sa.Table, *where: Any) -> int:
    with store.read() as connection:
        found: int = connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()
    return found


# Orders


def test_an_order_is_found_by_each_of_its_ids(store: Database, now: datetime, planner: PlanningContext) -> None:
    [order_id] = discovered(store, 1, now, planner)
    every: list[dict[str, Any]] = [{"order_id": order_id}, {"po_number": "po-00000"}, {"provider_id": "BLK-0"}]
    for ids in every:
        kept = store.write(partial(writes.find_order, **ids))
        assert kept is not None
        assert (kept.id, kept.order.provider_id, len(kept.order.lines)) == (order_id, "BLK-0", 1)


def test_what_is_not_there_is_not_found(store: Database) -> None:
    assert store.write(lambda connection: writes.find_order(connection, po_number="none")) is None
    assert store.write(writes.find_order) is None


def test_lines_come_back_as_they_went_in(store: Database, now: datetime) -> None:
    asked = request("po", line("CVS", 12.5, 3, ExternalId="row-1"), line("AMAZON", 25))
    order_id = store.write(lambda connection: ingest.place(connection, asked, source="csv", actor="ann", now=now))
    assert store.write(lambda connection: writes.lines_of(connection, order_id)) == asked.lines


def test_the_log_counts_from_one_without_a_gap(store: Database, now: datetime) -> None:
    [order_id] = place(store, 1, now)
    for number in range(5):
        text = f"note {number}"
        store.write(partial(ingest.record_note, order_id=order_id, text=text, actor=None, now=now, acknowledges=False))
    with store.read() as connection:
        seqs = list(connection.execute(sa.select(EVENTS.c.seq).order_by(EVENTS.c.id)).scalars())
        assert connection.execute(sa.select(ORDERS.c.event_count)).scalar_one() == 6
    assert seqs == [1, 2, 3, 4, 5, 6]


def test_a_place_in_the_log_is_taken_once(store: Database, now: datetime) -> None:
    [order_id] = place(store, 1, now)
    again = sa.insert(EVENTS).values(
        order_id=order_id, seq=1, kind="x", witness="us", happened_at=now, learned_at=now, changes={}, line_changes=[]
    )
    with pytest.raises(StoreError):
        store.write(lambda connection: connection.execute(again.values(detail={})))


def test_ids_are_found_in_whatever_case_and_kept_as_they_were_written(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    seen = shown("BLK-Ä1", "Wave-7")
    store.write(lambda connection: ingest.discover(connection, seen, now, now, planner))
    for ids in ({"po_number": "WAVE-7"}, {"provider_id": "blk-a\u03081"}, {"po_number": " wave-7"}):
        stored = store.write(lambda connection, ids=ids: writes.find_order(connection, **ids))  # type: ignore[misc]
        assert stored is not None
        assert (stored.order.po_number, stored.order.provider_id) == ("Wave-7", "BLK-Ä1")
    assert stored is not None
    with store.read() as connection:
        found = writes.order_ids(connection, po_numbers=["wAVE-7"], provider_ids=["blk-ä1", "none"])
        assert found == {"wAVE-7": stored.id, "blk-ä1": stored.id}
        assert writes.po_numbers_of(connection, ["blk-ä1"]) == {"blk-ä1": "Wave-7"}
        assert writes.find_id(connection, "WAVE-7") == writes.find_id(connection, "BLK-ä1") == stored.id


def test_an_order_whose_answer_was_lost_is_found_in_a_list_that_escapes_its_po_number(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    def discover(connection: Connection) -> None:
        for provider_id in ("BLK-1", "BLK-2"):  # the second is another order: ours has an id by then
            ingest.discover(connection, shown(provider_id, "a &amp; b"), now, now, planner)
        ingest.discover(connection, shown("BLK-3", "a%00b"), now, now, planner)  # what PostgreSQL cannot ask for

    asked = request("a & b")
    store.write(lambda connection: ingest.place(connection, asked, source="form", actor="Ann", now=now))
    store.write(discover)
    with store.read() as connection:
        rows = connection.execute(sa.select(ORDERS.c.po_number, ORDERS.c.provider_id).order_by(ORDERS.c.id)).all()
    assert [tuple(row) for row in rows] == [("a & b", "BLK-1"), ("a &amp; b", "BLK-2"), ("a%00b", "BLK-3")]


def test_of_two_ids_that_differ_in_case_alone_each_is_found_as_written_and_neither_otherwise(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    for number, po_number in enumerate(("A-1", "a-1")):
        seen = shown(f"BLK-{number}", po_number)
        store.write(lambda connection, seen=seen: ingest.discover(connection, seen, now, now, planner))  # type: ignore[misc]
    assert count(store, ORDERS) == 2
    for po_number in ("A-1", "a-1"):
        stored = store.write(lambda connection, name=po_number: writes.find_order(connection, po_number=name))  # type: ignore[misc]
        assert stored is not None
        assert stored.order.po_number == po_number
    assert store.write(lambda connection: writes.find_order(connection, po_number=" A-1 ".lower())) is None
    with pytest.raises(NotAllowed):
        store.write(lambda connection: ingest.place(connection, request("A-1"), source="form", actor=None, now=now))


@pytest.mark.parametrize("again", ["demo-0001", "DEMO-0001"])
def test_an_order_is_not_placed_under_a_po_number_that_is_taken_in_another_case(
    store: Database, now: datetime, again: str
) -> None:
    store.write(lambda connection: ingest.place(connection, request("demo-0001"), source="f", actor=None, now=now))
    with pytest.raises(NotAllowed, match="demo-0001 exists"):
        store.write(lambda connection: ingest.place(connection, request(again), source="f", actor=None, now=now))


def test_a_po_number_is_taken_once_whoever_comes_first(store: Database, now: datetime) -> None:
    place(store, 1, now)
    twice = sa.insert(ORDERS).from_select(
        [column.name for column in ORDERS.c if column.name != "id"],
        sa.select(*[column for column in ORDERS.c if column.name != "id"]),
    )
    with pytest.raises(StoreError):
        store.write(lambda connection: connection.execute(twice))
    assert count(store, ORDERS) == 1


def test_times_come_back_aware_and_in_utc(store: Database, now: datetime, planner: PlanningContext) -> None:
    discovered(store, 1, now, planner)
    with store.read() as connection:
        at = connection.execute(sa.select(ORDERS.c.created_at)).scalar_one()
    assert (at, at.utcoffset()) == (now, timedelta())


def test_both_hours_of_a_night_in_which_summer_time_ends_are_stored(store: Database, now: datetime) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))  # equal to the same an hour later
    for at, hour in ((first, 0), (first.replace(fold=1), 1)):
        store.write(lambda connection, at=at: facts.set_fact(connection, "x", {}, at))  # type: ignore[misc]  # the default binds the loop's value
        with store.read() as connection:
            assert facts.get_fact(connection, "x")[0] == datetime(2026, 10, 25, hour, 30, tzinfo=UTC)  # type: ignore[index]  # it is there


def test_a_time_without_a_zone_is_not_stored(store: Database, now: datetime) -> None:
    with pytest.raises(StoreError):
        store.write(lambda connection: facts.set_fact(connection, "x", {}, now.replace(tzinfo=None)))


# Counters


def test_counters_move_with_the_order(store: Database, now: datetime, planner: PlanningContext) -> None:
    place(store, 2, now)
    later = now + timedelta(hours=3)
    done = shown("BLK-1", "po-00001", "Completed")
    store.write(lambda connection: ingest.discover(connection, done, later, later, planner))
    with store.read() as connection:
        rows = {
            (row.name, row.hour, row.state): (row.orders, row.units, row.value_minor)
            for row in connection.execute(sa.select(COUNTERS).where(COUNTERS.c.orders != 0))
        }
    assert rows == {
        ("stock", now, "Queued"): (1, 1, 1000),
        ("stock", now, "Completed"): (1, 1, 1000),
        ("flow", now, "Queued"): (2, 2, 2000),
        ("flow", later, "Accepted"): (1, 1, 1000),
        ("flow", later, "Completed"): (1, 1, 1000),
        ("left", later, "Queued"): (1, 1, 1000),
        ("left", later, "Accepted"): (1, 1, 1000),
    }


def test_stock_adds_up_to_the_orders_whatever_happens(store: Database, now: datetime, planner: PlanningContext) -> None:
    rng = random.Random(5)
    place(store, 20, now)
    for step in range(60):
        at = now + timedelta(minutes=20 * step)
        number = rng.randrange(30)
        seen = shown(
            f"BLK-{number}", f"po-{number:05}", rng.choice(["Pending", "Processing", "Completed", "Cancelled"])
        )
        store.write(partial(ingest.discover, parsed=seen, started_at=at, now=at, planner=planner))
    with store.read() as connection:
        stock = sa.select(sa.func.sum(COUNTERS.c.orders), sa.func.sum(COUNTERS.c.value_minor))
        counted = connection.execute(stock.where(COUNTERS.c.name == "stock")).one()
        held = connection.execute(sa.select(sa.func.count(), sa.func.sum(ORDERS.c.value_minor))).one()
    assert tuple(map(int, counted)) == tuple(map(int, held))


# The outbox and its leases


def test_two_workers_never_claim_the_same_row(store: Database, now: datetime) -> None:
    orders = place(store, 30, now)
    claimed = [claim(store, owner, now, limit=10) for owner in ("a", "b", "a", "b")]
    assert sorted(order_id for part in claimed for order_id in part) == orders
    assert claimed[3] == []


@pytest.mark.postgres
@pytest.mark.parametrize("engine", ["postgres"])
def test_a_worker_passes_over_rows_that_another_one_is_claiming(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    orders = discovered(store, 6, now, planner)
    place_ids = store.write(
        lambda connection: [
            ingest.place(connection, request(f"mine-{number}"), source="form", actor=None, now=now)
            for number in range(6)
        ]
    )
    other = sa.create_engine(store.url)
    with other.connect() as connection:
        looks = writes.lease_polls(connection, orders[:4], now, owner="a", lease=LEASE, chosen_at=now)
        sends = outbox.lease_outbox(connection, now, owner="a", lease=LEASE, limit=4)
        # The other worker's transaction is still open: nothing waits for it, and nothing is taken twice.
        mine = claim_looks(store, "b", now), claim(store, "b", now)
        connection.commit()
    other.dispose()
    assert sorted([row["id"] for row in looks] + mine[0]) == orders
    assert sorted([row["order_id"] for row in sends] + mine[1]) == place_ids


def test_an_expired_lease_is_claimed_again_and_a_live_one_is_not(store: Database, now: datetime) -> None:
    orders = place(store, 2, now)
    assert claim(store, "a", now) == orders
    assert claim(store, "b", now + LEASE - timedelta(seconds=1)) == []
    assert claim(store, "b", now + LEASE) == orders


def test_what_the_dead_held_is_free_again(store: Database, now: datetime, planner: PlanningContext) -> None:
    looks = discovered(store, 2, now, planner)
    sends = store.write(
        lambda connection: [ingest.place(connection, request("mine"), source="form", actor=None, now=now)]
    )
    assert (claim_looks(store, "dead", now), claim(store, "dead", now)) == (looks, sends)
    assert store.write(leases.lease_owners) == ["dead"]
    store.write(lambda connection: leases.release_leases(connection, ["somebody else"]))
    assert (claim_looks(store, "b", now), claim(store, "b", now)) == ([], [])
    store.write(lambda connection: leases.release_leases(connection, ["dead"]))
    assert (claim_looks(store, "b", now), claim(store, "b", now)) == (looks, sends)
    assert store.write(leases.lease_owners) == ["b"]


def test_what_is_not_due_is_not_claimed_and_the_longest_due_comes_first(store: Database, now: datetime) -> None:
    orders = place(store, 3, now)
    store.write(
        lambda connection: connection.execute(
            sa.update(OUTBOX).where(OUTBOX.c.order_id == orders[0]).values(next_attempt_at=now + timedelta(seconds=5))
        )
    )
    assert claim(store, "a", now, limit=1) == [orders[1]]
    assert claim(store, "a", now) == [orders[2]]
    assert claim(store, "a", now + timedelta(seconds=5)) == [orders[0]]


def test_what_is_done_is_never_claimed_again_unless_it_is_queued_again(store: Database, now: datetime) -> None:
    [order_id] = place(store, 1, now)
    store.write(lambda connection: outbox.finish_outbox(connection, order_id, again_at=None))
    assert claim(store, "a", now + timedelta(days=9)) == []
    assert not store.write(lambda connection: outbox.any_send_due(connection, now))
    assert store.write(lambda connection: outbox.requeue(connection, order_id, now))
    assert claim(store, "a", now) == [order_id]
    assert not store.write(lambda connection: outbox.requeue(connection, 4711, now))


def test_attempts_are_counted_and_errors_kept(store: Database, now: datetime) -> None:
    [order_id] = place(store, 1, now)
    again_at = now + timedelta(seconds=9)
    counted = [store.write(lambda connection: outbox.record_attempts(connection, [order_id])) for _ in range(2)]
    assert counted == [{order_id: 1}, {order_id: 2}]
    store.write(lambda connection: outbox.finish_outbox(connection, order_id, again_at=again_at, error="timeout"))
    with store.read() as connection:
        row = connection.execute(sa.select(OUTBOX)).one()
    assert (row.attempts, row.done, row.next_attempt_at, row.last_error) == (2, False, again_at, "timeout")


def test_orders_that_are_never_to_be_looked_at_again_are_not_claimed(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    first, second = discovered(store, 2, now, planner)
    store.write(lambda connection: writes.update_order(connection, first, {"next_look_at": None}))
    assert claim_looks(store, "a", now) == [second]


def test_looks_given_back_are_due_at_once_or_when_told(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    first, second = discovered(store, 2, now, planner)
    claim_looks(store, "a", now)
    later = now + timedelta(seconds=30)
    store.write(lambda connection: writes.release_polls(connection, [first]))
    store.write(lambda connection: writes.release_polls(connection, [second], due_at=later))
    with store.read() as connection:
        rows = connection.execute(sa.select(ORDERS.c.lease_owner, ORDERS.c.next_look_at).order_by(ORDERS.c.id)).all()
    assert [tuple(row) for row in rows] == [(None, now), (None, later)]


# Callbacks


def callback(digest: str) -> dict[str, Any]:
    return {"digest": digest, "outcome": "accepted", "po_number": "po", "size": 9}


def test_a_callback_is_stored_once_and_counted_after_that(store: Database, now: datetime) -> None:
    later = now + timedelta(minutes=1)
    ids = [store.write(lambda connection: inbox.record_webhook_call(connection, callback("a"), now)) for _ in range(3)]
    assert [repeats for _, repeats in ids] == [0, 1, 2]
    store.write(lambda connection: inbox.record_webhook_call(connection, callback("a"), later))
    with store.read() as connection:
        row = connection.execute(sa.select(CALLBACKS)).one()
    assert (row.repeats, row.received_at, row.last_at) == (3, now, later)


def test_callbacks_that_come_together_are_counted_together(store: Database, now: datetime) -> None:
    def job(digest: str, times: int) -> int:
        return store.write(
            lambda connection: inbox.record_webhook_call(connection, callback(digest), now, times=times)[1]
        )

    assert [job("a", 1), job("a", 3), job("b", 4), job("b", 1)] == [0, 3, 0, 4]
    with store.read() as connection:
        assert connection.execute(sa.select(CALLBACKS.c.repeats).order_by(CALLBACKS.c.id)).scalars().all() == [3, 4]


def test_refusals_are_bounded(store: Database, now: datetime) -> None:
    def flood(connection: Connection) -> None:
        for number in range(1200):
            inbox.record_refusal(connection, {"reason": f"refusal {number}"}, now)

    store.write(lambda connection: inbox.record_webhook_call(connection, callback("kept"), now))
    store.write(flood)
    kept = count(store, CALLBACKS, CALLBACKS.c.outcome == "refused")
    assert kept == inbox.REFUSALS_STORED
    assert count(store, CALLBACKS, CALLBACKS.c.reason == "refusal 1199") == 1
    assert count(store, CALLBACKS, CALLBACKS.c.reason == "refusal 0") == 0
    assert count(store, CALLBACKS, CALLBACKS.c.outcome == "accepted") == 1


def test_refusals_are_bounded_whatever_is_stored_between_them(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "REFUSALS_STORED", 10)

    def mixed(connection: Connection) -> None:
        for number in range(120):
            inbox.record_webhook_call(connection, callback(str(number)), now)
            inbox.record_refusal(connection, {"reason": f"refusal {number}"}, now)

    store.write(lambda connection: inbox.record_webhook_call(connection, callback("first"), now))
    store.write(mixed)
    assert count(store, CALLBACKS, CALLBACKS.c.outcome == "refused") == 10
    assert count(store, CALLBACKS, CALLBACKS.c.reason == "refusal 110") == 1
    assert count(store, CALLBACKS, CALLBACKS.c.outcome == "accepted") == 121


# Facts


def test_a_fact_replaces_what_was_known(store: Database, now: datetime) -> None:
    later = now + timedelta(seconds=1)
    store.write(lambda connection: facts.set_fact(connection, "poll", {"looked": 1}, now))
    store.write(lambda connection: facts.set_fact(connection, "poll", {"due": 2}, later))
    assert store.write(lambda connection: facts.get_fact(connection, "poll")) == (later, {"due": 2})
    assert store.write(lambda connection: facts.get_fact(connection, "none")) is None


def test_row_ids_are_told_for_po_numbers_and_provider_ids(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    first, second = discovered(store, 2, now, planner)
    told = store.write(
        lambda connection: writes.order_ids(connection, po_numbers=["po-00000", "no"], provider_ids=["BLK-1"])
    )
    assert told == {"po-00000": first, "BLK-1": second}
    named = store.write(lambda connection: writes.po_numbers_of(connection, ["BLK-1", "none"]))
    assert named == {"BLK-1": "po-00001"}


def test_creation_times_between_two_moments_come_in_order_up_to_the_limit(
    store: Database, now: datetime, planner: PlanningContext
) -> None:
    def job(connection: Connection) -> None:
        for number in (3, 1, 2, 9):
            at = now + timedelta(seconds=number)
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}", created_at=at), now, now, planner)

    store.write(job)
    last = now + timedelta(seconds=3)
    told = store.write(lambda connection: writes.created_between(connection, now, last, 2))
    assert told == [now + timedelta(seconds=1), now + timedelta(seconds=2)]


# Many lines


def test_five_thousand_lines_are_kept_and_changed(store: Database, now: datetime, planner: PlanningContext) -> None:
    asked = [line(value=5, ExternalId=f"row-{number}") for number in range(5000)]
    store.write(lambda connection: ingest.place(connection, request("big", *asked), source="csv", actor=None, now=now))
    for status in ("Pending", "Completed"):
        seen = shown("BLK-1", "big", status, *asked)
        store.write(partial(ingest.discover, parsed=seen, started_at=now, now=now, planner=planner))
    kept = store.write(lambda connection: writes.find_order(connection, po_number="big"))
    assert kept is not None
    assert (kept.order.state, kept.order.units_fulfilled, kept.columns["line_count"]) == ("Completed", 5000, 5000)
    assert {(one.status, one.claims) for one in kept.order.lines} == {("Completed", 1)}
    assert count(store, LINES, LINES.c.provider_line_id.is_not(None), LINES.c.claim_digest.is_not(None)) == 5000
    with store.read() as connection:
        changes = connection.execute(sa.select(EVENTS.c.line_changes).where(EVENTS.c.kind == "completed")).scalar_one()
    assert [change["numbers"] for change in changes] == ["1-5000"]
