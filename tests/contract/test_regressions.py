"""What once went wrong with money or evidence at stake; each of these failed before it was mended."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, callback, line, order_json, request, shown
from polling_setup import poll_once
from sending_setup import send_once

from tracking import ingest
from tracking.errors import AccessDisabled, InsufficientFunds, OutcomeUnknown
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Order, Witness
from tracking.orders.observations import Answered, Observation, Polled
from tracking.polling.poller import Poller
from tracking.provider.responses import read_order
from tracking.storage import orders, outbox
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import EVENTS, LINES
from tracking.submissions.sender import Sender

PO = "demo-0001"
POOR = InsufficientFunds(available=1, cost=2)


def sender(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Sender:
    return Sender(
        store,
        provider,
        planner,
        address=lambda _: None,
        owner="here/1/a",
        lease=timedelta(seconds=30),
        clock=clock,
        wake=lambda: None,
    )


def poller(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Poller:
    lease = timedelta(seconds=30)
    return Poller(store, provider, planner, owner="here/1/a", lease=lease, clock=clock)


def order(store: Database, po_number: str = PO) -> Order:
    kept = store.write(lambda connection: orders.find_order(connection, po_number=po_number))
    assert kept is not None
    return kept.order


def kinds(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars())


def place(store: Database, now: datetime, po_number: str = PO, quantity: int = 1) -> None:
    wanted = request(po_number, line(quantity=quantity))
    store.write(lambda connection: ingest.place(connection, wanted, source="form", actor=None, now=now))


def test_an_order_complete_in_its_own_answer_is_confirmed_by_a_look_of_the_same_bytes(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    provider.status_after_placing = "Completed"
    place(store, now)
    asyncio.run(send_once(sender(store, provider, planner, clock), now))
    assert order(store).state == "Accepted"
    asyncio.run(poll_once(poller(store, provider, planner, clock), clock.pass_by(seconds=1)))
    assert order(store).state == "Completed"


def test_a_refusal_after_an_attempt_that_was_cut_off_is_looked_up_before_it_is_believed(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now)
    provider.losing.append(RuntimeError("killed after placing"))
    sending = sender(store, provider, planner, clock)
    with contextlib.suppress(RuntimeError):
        asyncio.run(send_once(sending, now))
    assert order(store).state == "Sending"
    provider.will("place", POOR)
    asyncio.run(send_once(sending, clock.pass_by(seconds=1000)))
    assert order(store).state == "Pending"


def test_an_order_is_looked_up_on_every_page_of_what_the_provider_finds(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now, "w-1")
    yesterday = now - timedelta(days=1)
    provider.show(*[order_json(f"X{number}", f"w-1{number}", created_at=yesterday) for number in range(60)])
    provider.losing.append(OutcomeUnknown("no answer in time"))
    sending = sender(store, provider, planner, clock)
    asyncio.run(send_once(sending, now))
    assert order(store, "w-1").state == "Outcome unknown"
    provider.will("place", POOR)
    asyncio.run(send_once(sending, clock.pass_by(seconds=1000)))
    assert order(store, "w-1").state == "Pending"


def test_a_word_of_ours_in_the_providers_answer_does_not_become_our_state(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    provider.status_after_placing = "Refused"
    place(store, now)
    asyncio.run(send_once(sender(store, provider, planner, clock), now))
    assert order(store).state == "Accepted"


def test_claim_data_that_comes_in_parts_is_no_claim_data_that_changed(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now, quantity=2)
    asyncio.run(send_once(sender(store, provider, planner, clock), now))
    looking = poller(store, provider, planner, clock)
    full = order_json("BLK-1", PO, "Completed", line(quantity=2), claims=2)
    for raw in (order_json("BLK-1", PO, "Completed", line(quantity=2), claims=1), full, {**full, "Extra": 1}):
        provider.show(raw)
        asyncio.run(poll_once(looking, clock.pass_by(seconds=1000)))
    assert order(store).state == "Completed"
    assert "claims changed" not in kinds(store)


def test_lines_shown_in_another_order_keep_their_own_fate(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    wanted = request(PO, line(ExternalId="a"), line(ExternalId="b"))
    store.write(lambda connection: ingest.place(connection, wanted, source="form", actor=None, now=now))
    raw = order_json("BLK-1", PO, "Pending", line(ExternalId="b"), line(ExternalId="a"))
    raw["LineItems"][0]["Status"] = "Cancelled"
    store.write(lambda connection: ingest.discover(connection, read_order(raw), now, now, planner))
    assert {one.external_id: one.status for one in order(store).lines} == {"a": "Pending", "b": "Cancelled"}


def test_a_new_contradiction_is_shown_although_an_older_one_was_acknowledged(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(status="Cancelled"), now, now, planner))
    store.write(
        lambda connection: ingest.record_note(connection, 1, text="seen", actor="ada", now=now, acknowledges=True)
    )
    store.write(lambda connection: ingest.receive_webhook(connection, callback(), 1, now, planner))
    assert (order(store).attention or "").startswith("announced")
    assert order(store).acknowledged_at is None


def test_an_order_first_shown_without_a_type_still_completes(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    for seen in (shown(kind=None), shown(status="Completed")):
        store.write(lambda connection, seen=seen: ingest.discover(connection, seen, now, now, planner))  # type: ignore[misc]  # bound early
    assert order(store).state == "Completed"


def test_another_order_under_our_po_number_is_written_down_once_when_looks_show_it(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    place(store, now)
    other = read_order(order_json("BLK-9", PO, "Pending", line("AMAZON", 99)))
    for _ in range(2):
        store.write(lambda connection: ingest.discover(connection, other, now, now, planner))
    assert kinds(store) == ["requested", "mismatch"]


def test_a_value_a_line_and_an_event_changed_by_hand_are_all_told(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(status="Completed"), now, now, planner))
    assert verify.verify(store) == []
    for harm in (
        sa.update(LINES).values(value_minor=5),
        sa.update(EVENTS).where(EVENTS.c.seq == 1).values(changes={}),
        sa.delete(LINES),
    ):
        store.write(lambda connection, harm=harm: connection.execute(harm))  # type: ignore[misc]  # bound early
        assert verify.verify(store) != []


@pytest.mark.postgres
@pytest.mark.parametrize("engine", ["postgres"])
def test_a_claim_on_postgresql_never_takes_more_than_it_asks_for(store: Database, now: datetime) -> None:
    """With the statistics of a nearly empty table, PostgreSQL ran the limited subquery once for each row."""
    place(store, now, "only")
    with psycopg.connect(store.url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute("VACUUM ANALYZE outbox")
    for number in range(12):
        place(store, now, f"po-{number}")
    lease = timedelta(seconds=9)
    taken = store.write(lambda connection: outbox.lease_outbox(connection, now, owner="a", lease=lease, limit=1))
    assert len(taken) == 1


def test_after_a_refusal_of_the_account_one_order_alone_tries_whether_it_is_over(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    for number in range(12):
        place(store, now, f"po-{number:02d}")
    provider.will("place", *[AccessDisabled("disabled", status=403)] * 8)
    sending = sender(store, provider, planner, clock)
    taken = [asyncio.run(send_once(sending, clock.now))]
    taken.append(asyncio.run(send_once(sending, clock.pass_by(seconds=1))))
    taken += [asyncio.run(send_once(sending, clock.pass_by(seconds=seconds))) for seconds in (100, 1)]
    assert taken == [8, 0, 1, 8]


def test_a_list_without_claim_data_does_not_prove_that_an_order_was_still_open(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    place(store, now)
    accepted = shown("BLK-1", PO, created_at=now)
    answered = Observation(Witness.ANSWER, now, now, Answered(accepted.snapshot))
    store.write(lambda connection: ingest.observe(connection, 1, answered, planner, parsed=accepted))
    later = now + timedelta(minutes=10)
    listed = shown("BLK-1", PO, "Completed", created_at=now, claims=0)
    store.write(lambda connection: ingest.discover(connection, listed, later, later, planner))
    looked = Observation(Witness.POLL, later, later, Polled(shown("BLK-1", PO, "Completed", created_at=now).snapshot))
    store.write(lambda connection: ingest.observe(connection, 1, looked, planner))
    assert order(store).state == "Completed"
    assert order(store).completed_after == now


def test_lists_without_claim_data_do_not_put_off_the_look_that_proves_a_completion(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    placed = shown("BLK-1", "E-1", created_at=now)
    store.write(lambda connection: ingest.discover(connection, placed, now, now, planner))
    later = now + timedelta(minutes=10)
    for minute in range(3):
        at = later + timedelta(minutes=minute)
        listed = shown("BLK-1", "E-1", "Completed", created_at=now, claims=0)
        store.write(partial(ingest.discover, parsed=listed, started_at=at, now=at, planner=planner))
        kept = store.write(lambda connection: orders.find_order(connection, po_number="E-1"))
        assert kept is not None
        assert kept.columns["next_look_at"] == later, minute


def test_the_repeat_of_a_foreign_answer_does_not_count_as_a_look_that_found_nothing_new(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now)
    asyncio.run(send_once(sender(store, provider, planner, clock), now))
    last_open_at = order(store).last_open_at
    foreign = order_json("BLK-1", "another-0001", "Completed")
    provider.show(foreign)
    for _ in range(2):
        asyncio.run(poll_once(poller(store, provider, planner, clock), clock.pass_by(minutes=20)))
    assert kinds(store)[-1] == "contradiction"
    assert order(store).last_open_at == last_open_at


def test_a_clock_that_was_stepped_back_makes_no_order_asked_for_each_second(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now)
    asyncio.run(send_once(sender(store, provider, planner, clock), now))
    store.write(lambda connection: ingest.receive_webhook(connection, callback(PO), 99, now, planner))
    clock.pass_by(hours=-1)
    store.write(lambda connection: ingest.request_action(connection, 1, what="check", actor=None, now=clock()))
    for _ in range(60):
        asyncio.run(poll_once(poller(store, provider, planner, clock), clock.pass_by(seconds=1)))
    assert len(provider.called("order")) <= 2


def test_a_resend_that_is_refused_is_looked_up_as_the_refusal_before_may_have_overtaken_an_attempt(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now)
    sending = sender(store, provider, planner, clock)
    provider.will("place", OutcomeUnknown("the connection broke"), POOR)
    asyncio.run(send_once(sending, now))
    asyncio.run(send_once(sending, clock.pass_by(minutes=1)))
    assert order(store).state == "Refused"
    provider.show(order_json("BLK-1", PO, created_at=now))  # the first attempt arrived late
    store.write(lambda connection: ingest.request_action(connection, 1, what="resend", actor="Ann", now=clock()))
    provider.will("place", POOR)
    asyncio.run(send_once(sending, clock.pass_by(minutes=1)))
    assert order(store).provider_id == "BLK-1"


def test_the_lease_of_a_worker_that_died_before_the_clock_was_set_back_ends_within_minutes(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, now: datetime
) -> None:
    place(store, now)
    store.write(
        lambda connection: outbox.lease_outbox(connection, now, owner="gone", lease=timedelta(seconds=90), limit=1)
    )
    sending = sender(store, provider, planner, clock)
    asyncio.run(sending.recover(clock.pass_by(hours=-1)))
    assert asyncio.run(send_once(sending, clock.pass_by(minutes=10))) == 0
    assert asyncio.run(send_once(sending, clock.pass_by(minutes=6))) == 1
    assert order(store).state == "Pending"
