import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, line, order_json, request
from sending_setup import send_once
from sqlalchemy.engine import RowMapping

from tracking import ingest
from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    DuplicateOrder,
    InsufficientFunds,
    NotFound,
    NotSent,
    NotTheProvider,
    OutcomeUnknown,
    Problem,
    ProviderError,
    RequestRejected,
    Throttled,
    UnreadableAnswer,
)
from tracking.forecasting.planner import PlanningContext
from tracking.storage import inbox, leases, outbox
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import EVENTS, ORDERS, OUTBOX
from tracking.submissions import sender
from tracking.submissions.sender import Sender
from tracking.webhooks import addresses

PO = "demo-0001"
POOR = InsufficientFunds(available=100, cost=1000)
BAD = RequestRejected("no", status=400, problems=[Problem("LineItems[0].Value", "is no denomination")])
LOST = OutcomeUnknown("no answer in time")


class Desk:
    """A sender with its store and its provider."""

    def __init__(self, store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> None:
        self.store, self.provider, self.planner, self.clock = store, provider, planner, clock
        self.woken = 0
        self.sender = self.worker("here/1/a")

    def worker(self, owner: str) -> Sender:
        return Sender(
            self.store,
            self.provider,
            self.planner,
            address=lambda po_number: f"https://hooks.example/{po_number}",
            owner=owner,
            lease=timedelta(seconds=30),
            clock=self.clock,
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    def place(self, po_number: str = PO, *lines: Mapping[str, Any]) -> None:
        asked = request(po_number, *lines)
        self.store.write(
            lambda connection: ingest.place(connection, asked, source="form", actor=None, now=self.clock.now)
        )

    def send(self, **later: float) -> int:
        now = self.clock.pass_by(**later)
        return asyncio.run(send_once(self.sender, now))

    def one(self, table: sa.Table) -> RowMapping:
        with self.store.read() as connection:
            return connection.execute(sa.select(table)).mappings().one()

    @property
    def state(self) -> str:
        return str(self.one(ORDERS)["state"])

    @property
    def waits(self) -> float | None:
        """Seconds until the next attempt, None when the outbox row is done."""
        row = self.one(OUTBOX)
        assert (row["lease_owner"], row["lease_until"]) == (None, None)
        return None if row["done"] else (row["next_attempt_at"] - self.clock.now).total_seconds()

    def kinds(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars())


@pytest.fixture
def desk(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Desk:
    return Desk(store, provider, planner, clock)


def test_nothing_due_sends_nothing(desk: Desk) -> None:
    assert desk.send() == 0
    assert desk.provider.calls == []


def test_an_order_is_sent_once_with_its_own_callback_address(desk: Desk) -> None:
    desk.place()
    assert desk.send() == 1
    assert desk.send(days=1) == 0
    [document] = desk.provider.called("place")
    assert document == {
        **request(PO).document,
        "WebhookSettings": {"FulfillmentComplete": f"https://hooks.example/{PO}"},
    }
    assert (desk.state, desk.one(ORDERS)["provider_id"], desk.waits) == ("Pending", "BLK-1", None)
    assert desk.kinds() == ["requested", "sending", "accepted"]
    assert desk.woken == 1


def test_without_a_public_address_no_callback_is_asked_for(desk: Desk) -> None:
    desk.place()
    desk.sender._address = lambda _po_number: None
    desk.send()
    assert "WebhookSettings" not in desk.provider.called("place")[0]


def test_the_attempt_is_committed_before_the_post_leaves(desk: Desk) -> None:
    found = []

    def look_into_the_store(document: Mapping[str, Any]) -> None:
        with desk.store.read() as connection:
            row = connection.execute(sa.select(ORDERS.c.po_number, ORDERS.c.state)).one()
            attempts = connection.execute(sa.select(OUTBOX.c.attempts)).scalar_one()
            digest = addresses.token_digest(document["WebhookSettings"]["FulfillmentComplete"].rpartition("/")[2])
            addressed = inbox.po_numbers_by_address(connection, [digest])
        assert addressed == {digest: row.po_number}
        found.append((row.po_number == document["PONumber"], row.state, attempts))

    desk.provider.placing = look_into_the_store
    desk.place()
    desk.send()
    assert found == [(True, "Sending", 1)]


@pytest.mark.parametrize(
    ("error", "state", "least", "most"),
    [
        (NotSent("no connection"), "Queued", 1, 1),
        (Throttled("wait", status=429, retry_after=timedelta(seconds=77)), "Queued", 77, 77),
        (CredentialsRefused("no", status=401), "Queued", 60, 60),
        (AccessDisabled("no", status=403), "Queued", 60, 60),
        (NotFound("no", status=404), "Queued", 60, 60),
        (Throttled("wait", status=503, retry_after=timedelta(seconds=77)), "Outcome unknown", 77, 77),
        (Throttled("wait", status=429, retry_after=timedelta(seconds=7), by_other=True), "Outcome unknown", 7, 7),
        (OutcomeUnknown("no", status=504), "Outcome unknown", 0.9, 1.1),
        (NotTheProvider("a redirect came instead", status=302), "Outcome unknown", 0.9, 1.1),
        (NotTheProvider("a page came instead", status=502), "Outcome unknown", 0.9, 1.1),
        (UnreadableAnswer("no", status=200), "Outcome unknown", 0.9, 1.1),
        (ProviderError("what"), "Outcome unknown", 0.9, 1.1),
    ],
)
def test_what_a_failure_says_about_the_order(
    desk: Desk, error: ProviderError, state: str, least: float, most: float
) -> None:
    desk.place()
    desk.provider.will("place", error)
    desk.send()
    waits = desk.waits
    assert desk.state == state
    assert waits is not None
    assert least <= waits <= most
    assert desk.one(OUTBOX)["last_error"] == str(error)
    assert desk.send() == 0
    assert desk.send(seconds=max(waits, 1)) == 1
    assert (desk.state, desk.waits) == ("Pending", None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (POOR, "the balance of 1.00 does not cover the cost of 10.00"),
        (InsufficientFunds(available=None, cost=5), "the balance does not cover the order"),
        (BAD, "LineItems[0].Value: is no denomination"),
        (RequestRejected("too many lines", status=413, problems=[]), "too many lines"),
    ],
)
def test_a_refusal_is_told_with_its_reason_and_not_repeated(desk: Desk, error: ProviderError, reason: str) -> None:
    desk.place()
    desk.provider.will("place", error)
    desk.send()
    assert (desk.state, desk.one(ORDERS)["attention"], desk.waits) == ("Refused", f"refused: {reason}", None)
    assert desk.send(days=1) == 0
    assert desk.provider.called("orders") == []


def test_a_refused_order_is_sent_again_under_its_po_number_when_a_person_asks(desk: Desk) -> None:
    desk.place()
    desk.provider.will("place", POOR)
    desk.send()
    desk.store.write(
        lambda connection: ingest.request_action(connection, 1, what="resend", actor="ann", now=desk.clock.now)
    )
    assert desk.send() == 1
    assert [document["PONumber"] for document in desk.provider.called("place")] == [PO, PO]
    assert desk.state == "Pending"


def test_nothing_leaves_while_the_provider_refuses_the_account_or_cannot_be_reached(desk: Desk) -> None:
    for number in range(12):
        desk.place(f"po-{number}")
    desk.provider.will("place", *[CredentialsRefused("no", status=401)] * 8)
    assert desk.send() == 8
    assert desk.send(seconds=59) == 0
    assert desk.send(seconds=1) == 1, "one alone tries whether it is over"
    assert desk.send(seconds=1) == 8


# Unknown outcomes


def test_an_order_that_was_placed_while_its_answer_was_lost_is_found_and_never_placed_twice(desk: Desk) -> None:
    desk.place()
    desk.provider.losing.append(LOST)
    desk.send()
    assert desk.state == "Outcome unknown"
    desk.send(minutes=1)
    assert (desk.state, desk.one(ORDERS)["provider_id"], desk.waits) == ("Pending", "BLK-1", None)
    assert len(desk.provider.kept) == 1
    assert desk.kinds() == ["requested", "sending", "outcome unknown", "sending", "found"]


def test_an_unknown_outcome_stays_unknown_until_an_answer_comes_and_the_po_number_stays_the_same(desk: Desk) -> None:
    desk.place()
    throttled = Throttled("wait", status=429, retry_after=timedelta(seconds=9))
    desk.provider.will("place", LOST, NotSent("no"), throttled, CredentialsRefused("no"), LOST, LOST)
    for _ in range(6):
        assert desk.send(minutes=6) == 1
        assert desk.state == "Outcome unknown"
    desk.send(minutes=6)
    assert desk.state == "Pending"
    assert {document["PONumber"] for document in desk.provider.called("place")} == {PO}
    assert desk.one(OUTBOX)["attempts"] == 7


def test_retries_back_off(desk: Desk) -> None:
    desk.place()
    waits = []
    for _ in range(12):
        desk.provider.will("place", LOST)
        desk.send(minutes=6)
        waits.append(desk.waits or 0)
    assert waits[:3] == [pytest.approx(1, rel=0.1), pytest.approx(2, rel=0.1), pytest.approx(4, rel=0.1)]
    assert waits[-1] == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize("error", [POOR, BAD])
def test_a_refusal_after_an_unknown_outcome_is_believed_only_after_the_order_was_looked_up(
    desk: Desk, error: ProviderError
) -> None:
    desk.place()
    desk.provider.losing.append(LOST)
    desk.send()
    desk.provider.will("place", error)
    desk.send(minutes=1)
    assert (desk.state, desk.one(ORDERS)["provider_id"]) == ("Pending", "BLK-1")
    assert [asked["po_number"] for asked in desk.provider.called("orders")] == [PO]


def test_a_refusal_after_an_unknown_outcome_holds_when_the_provider_has_no_such_order(desk: Desk) -> None:
    desk.provider.show(order_json("BLK-7", f"{PO}-and-more"))
    desk.place()
    desk.provider.will("place", LOST, POOR)
    desk.send()
    desk.send(minutes=1)
    assert (desk.state, desk.waits) == ("Refused", None)


def test_an_order_that_cannot_be_looked_up_after_a_refusal_stays_unknown(desk: Desk) -> None:
    desk.place()
    desk.provider.losing.append(LOST)
    desk.send()
    desk.provider.will("place", POOR)
    desk.provider.will("orders", OutcomeUnknown("no", status=504))
    desk.send(minutes=1)
    assert desk.state == "Outcome unknown"
    assert desk.waits is not None


# 409


def test_a_409_that_names_no_order_leads_to_the_one_with_our_po_number(desk: Desk) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-5", PO), order_json("BLK-6", f"{PO}0"))
    desk.provider.will("place", DuplicateOrder([]))
    desk.send()
    assert (desk.state, desk.one(ORDERS)["provider_id"]) == ("Pending", "BLK-5")


def test_a_409_whose_order_cannot_be_found_leaves_the_outcome_unknown(desk: Desk) -> None:
    desk.place()
    desk.provider.will("place", DuplicateOrder([]), DuplicateOrder(["BLK-404"]))
    for _ in range(2):
        desk.send(minutes=1)
        assert desk.state == "Outcome unknown"
        assert desk.waits is not None


def test_a_409_that_names_what_is_no_order_leads_to_ours_by_the_list(desk: Desk) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-5", PO))
    desk.provider.will("place", DuplicateOrder(["request-4711"]))
    desk.send()
    assert (desk.state, desk.one(ORDERS)["provider_id"]) == ("Pending", "BLK-5")


def test_a_409_that_names_one_order_in_two_cases_is_no_riddle(desk: Desk) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-1", PO.upper()))
    desk.provider.will("place", DuplicateOrder(["BLK-1", "blk-1"]))
    desk.send()
    assert (desk.state, desk.one(ORDERS)["provider_id"]) == ("Pending", "BLK-1")


def test_whatever_stands_in_between_answers_no_order_is_refused_or_placed_twice(desk: Desk) -> None:
    desk.place()
    pages = [
        NotTheProvider(f"a page came instead of the provider's answer (status {code})", status=code)
        for code in (302, 400, 401, 403, 404, 407, 409, 413, 422, 451, 500, 503)
    ]
    desk.provider.will("place", *pages)
    for _ in pages:
        desk.send(minutes=6)
        assert (desk.state, desk.one(ORDERS)["attention"]) == ("Outcome unknown", None)
    desk.send(minutes=6)
    assert desk.state == "Pending"
    assert {document["PONumber"] for document in desk.provider.called("place")} == {PO}
    assert len(desk.provider.kept) == 1


def test_a_page_in_between_holds_the_other_orders_up_until_one_gets_through(desk: Desk) -> None:
    for number in range(4):
        desk.place(f"po-{number}")
    desk.provider.will("place", *[NotTheProvider("a firewall's page came instead", status=403)] * 4)
    assert desk.send() == 4
    assert desk.send() == 0
    assert desk.send(seconds=5) == 1
    assert desk.send() == 3


def test_a_409_that_names_several_orders_goes_to_a_person(desk: Desk) -> None:
    desk.place()
    desk.provider.will("place", DuplicateOrder(["BLK-2", "BLK-1"]))
    desk.send()
    attention = desk.one(ORDERS)["attention"]
    assert (desk.state, desk.waits) == ("Refused", None)
    assert "BLK-1, BLK-2" in attention


def test_a_409_that_names_one_order_twice_is_no_riddle(desk: Desk) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-1", PO))
    desk.provider.will("place", DuplicateOrder(["BLK-1", "BLK-1"]))
    desk.send()
    assert desk.state == "Pending"


@pytest.mark.parametrize("other", [line(value=99), line("AMAZON"), line(quantity=2)])
def test_a_409_that_leads_to_another_order_goes_to_a_person(desk: Desk, other: dict[str, Any]) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-1", PO, "Pending", other))
    desk.send()
    row = desk.one(ORDERS)
    assert (row["state"], row["provider_id"], desk.waits) == ("Refused", None, None)
    assert "BLK-1" in row["attention"]


# Crashes and several workers


def test_a_crash_between_the_attempt_and_the_answer_is_settled_with_the_same_po_number(desk: Desk) -> None:
    desk.place()
    desk.provider.losing.append(RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        desk.send()
    assert desk.state == "Sending"
    heir = desk.worker("here/2/b")
    assert asyncio.run(heir.recover(desk.clock.pass_by(seconds=30))) == 0
    now = desk.clock.pass_by(seconds=60)
    assert asyncio.run(heir.recover(now)) == 1
    assert desk.state == "Outcome unknown"
    assert asyncio.run(heir.recover(now)) == 0
    asyncio.run(send_once(heir, now))
    assert desk.state == "Pending"
    assert (len(desk.provider.kept), len(desk.provider.called("place"))) == (1, 2)


def test_what_a_dead_owner_held_is_settled_at_once(desk: Desk) -> None:
    desk.place()
    desk.provider.losing.append(RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        desk.send()
    desk.store.write(lambda connection: leases.release_leases(connection, ["here/1/a"]))
    assert asyncio.run(desk.sender.recover(desk.clock.now)) == 1
    assert desk.send() == 1
    assert desk.state == "Pending"


def test_a_crash_before_the_attempt_sends_the_order_as_if_nothing_had_been(desk: Desk) -> None:
    desk.place()
    desk.store.write(
        lambda connection: outbox.lease_outbox(
            connection, desk.clock.now, owner="dead", lease=timedelta(seconds=90), limit=9
        )
    )
    assert desk.send() == 0
    assert asyncio.run(desk.sender.recover(desk.clock.now)) == 0
    assert desk.send(seconds=90) == 1
    assert desk.kinds() == ["requested", "sending", "accepted"]


def test_two_workers_send_each_order_once(desk: Desk, now: datetime) -> None:
    for number in range(20):
        desk.place(f"po-{number:05}")
    other = desk.worker("there/9/b")

    async def both() -> list[int]:
        return [await send_once(worker, now) for _ in range(2) for worker in (desk.sender, other)]

    assert asyncio.run(both()) == [8, 8, 4, 0]
    sent = [document["PONumber"] for document in desk.provider.called("place")]
    assert sorted(sent) == [f"po-{number:05}" for number in range(20)]


def test_what_is_under_way_here_is_neither_recovered_nor_sent_again_when_its_lease_has_ended(desk: Desk) -> None:
    desk.place()
    [attempt] = asyncio.run(desk.sender.begin_due(desk.clock.now))
    later = desk.clock.pass_by(hours=1)
    assert asyncio.run(desk.sender.recover(later)) == 0
    assert asyncio.run(desk.sender.begin_due(later)) == []
    assert desk.state == "Sending"
    asyncio.run(desk.sender.send(attempt))
    assert (desk.state, desk.waits) == ("Pending", None)
    assert desk.kinds() == ["requested", "sending", "accepted"]


def test_after_trouble_one_order_alone_tries_and_none_beside_it(desk: Desk) -> None:
    for number in range(3):
        desk.place(f"po-{number}")
    first = asyncio.run(desk.sender.begin_due(desk.clock.now, 1))
    second = asyncio.run(desk.sender.begin_due(desk.clock.now, 1))
    desk.provider.will("place", NotSent("no route"))
    asyncio.run(desk.sender.send(first[0]))
    now = desk.clock.pass_by(seconds=1)
    assert asyncio.run(desk.sender.begin_due(now)) == [], "another is still under way"
    desk.provider.will("place", NotSent("no route"))
    asyncio.run(desk.sender.send(second[0]))
    now = desk.clock.pass_by(seconds=2)
    [probe] = asyncio.run(desk.sender.begin_due(now))
    assert asyncio.run(desk.sender.begin_due(now)) == []
    asyncio.run(desk.sender.send(probe))
    assert len(asyncio.run(desk.sender.begin_due(desk.clock.pass_by(seconds=5)))) == 2


def test_what_waits_for_its_place_leaves_after_trouble_only_where_it_is_the_one_that_tries(desk: Desk) -> None:
    for number in range(2):
        desk.place(f"po-{number}")
    first, ready = asyncio.run(desk.sender.begin_due(desk.clock.now))
    desk.provider.will("place", NotSent("no route"))
    asyncio.run(desk.sender.send(first))
    now = desk.clock.pass_by(seconds=2)
    assert desk.sender.may_start(ready, now), "it tries"
    [second] = asyncio.run(desk.worker("here/2/b").begin_due(now))
    desk.sender._under_way.add(second.order_id)
    assert not desk.sender.may_start(ready, now)


def test_what_never_left_says_nothing_once_another_process_sent_the_order(desk: Desk) -> None:
    desk.place()
    [stale] = asyncio.run(desk.sender.begin_due(desk.clock.now))
    now, other = desk.clock.pass_by(minutes=2), desk.worker("here/2/b")
    assert asyncio.run(other.recover(now)) == 1
    [newer] = asyncio.run(other.begin_due(now))
    asyncio.run(desk.sender.release([stale]))
    assert desk.one(OUTBOX)["lease_owner"] == "here/2/b", "it is under way there, and is not sent beside it"
    assert asyncio.run(desk.sender.begin_due(now)) == []
    desk.provider.will("place", BAD)
    asyncio.run(other.send(newer))
    assert (desk.state, desk.waits) == ("Refused", None)
    asyncio.run(desk.sender.release([stale]))
    assert (desk.state, desk.waits) == ("Refused", None), "it would wait for ever as Queued"


def test_a_late_unknown_outcome_is_settled_by_a_resend_whatever_another_process_learned(desk: Desk) -> None:
    desk.place()
    [slow] = asyncio.run(desk.sender.begin_due(desk.clock.now))
    now, other = desk.clock.pass_by(minutes=2), desk.worker("here/2/b")
    asyncio.run(other.recover(now))
    [newer] = asyncio.run(other.begin_due(now))
    desk.provider.will("place", BAD, LOST)
    asyncio.run(other.send(newer))
    asyncio.run(desk.sender.send(slow))
    assert (desk.state, desk.waits is None) == ("Outcome unknown", False)
    assert desk.send(seconds=30) == 1
    assert (desk.state, desk.waits) == ("Pending", None)


def test_attempts_that_leave_together_are_committed_together(desk: Desk) -> None:
    for number in range(3):
        desk.place(f"po-{number}")
    jobs: list[Any] = []
    run = desk.store.run
    desk.store.run = lambda job, **named: run(jobs.append(job) or job, **named)  # type: ignore[method-assign,func-returns-value]
    attempts = asyncio.run(desk.sender.begin_due(desk.clock.now))
    assert (len(attempts), len(jobs), desk.provider.calls) == (3, 1, [])
    assert desk.kinds() == ["requested"] * 3 + ["sending"] * 3
    with desk.store.read() as connection:
        known = inbox.po_numbers_by_address(connection, [addresses.token_digest(f"po-{n}") for n in range(3)])
    assert sorted(known.values()) == ["po-0", "po-1", "po-2"]


def test_answers_that_come_together_are_stored_together_and_one_that_cannot_be_harms_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        desk.place(f"po-{number}", line(), line("AMZ"))
    attempts = asyncio.run(desk.sender.begin_due(desk.clock.now))
    recorded, jobs, record = list[int](), list[Any](), Sender._record_result
    bad = attempts[2].order_id

    def recording(self: Sender, connection: sa.Connection, finished: Any, stored: Any) -> None:
        recorded.append(finished[0].order_id)
        if finished[0].order_id == bad:
            raise ZeroDivisionError
        record(self, connection, finished, stored)

    monkeypatch.setattr(Sender, "_record_result", recording)
    run = desk.store.run
    desk.store.run = lambda job, **named: run(jobs.append(job) or job, **named)  # type: ignore[method-assign,func-returns-value]

    outcomes = asyncio.run(send_all(desk.sender, attempts[1:]))
    assert [type(each) for each in outcomes] == [type(None), ZeroDivisionError, type(None)]
    together, alone = recorded[: recorded.index(bad) + 1], recorded[recorded.index(bad) + 1 :]
    assert (len(together), len(alone), len(jobs)) == (2, 3, 4)
    monkeypatch.setattr(Sender, "_record_result", record)
    with desk.store.read() as connection:
        states = list(connection.execute(sa.select(ORDERS.c.state).order_by(ORDERS.c.id)).scalars())
    assert states == ["Sending", "Pending", "Sending", "Pending"]
    jobs.clear()
    attempts = [attempts[0], attempts[2]]
    assert asyncio.run(send_all(desk.sender, attempts)) == [None, None]
    assert len(jobs) == 1
    assert verify.verify(desk.store) == []


async def send_all(own: Sender, attempts: list[sender.Attempt]) -> list[Any]:
    return await asyncio.gather(*map(own.send, attempts), return_exceptions=True)


def test_an_order_found_at_the_provider_meanwhile_is_not_sent(desk: Desk, planner: PlanningContext) -> None:
    desk.place()
    desk.provider.will("place", LOST)
    desk.send()
    desk.provider.show(order_json("BLK-1", PO))
    [shown] = asyncio.run(desk.provider.orders(page=1)).orders
    now = desk.clock.now
    desk.store.write(lambda connection: ingest.discover(connection, shown, now, now, planner))
    assert desk.send(minutes=1) == 0
    assert (len(desk.provider.called("place")), desk.waits) == (1, None)


def test_an_order_cancelled_by_the_time_it_is_adopted_is_looked_at_before_it_is_called_cancelled(desk: Desk) -> None:
    desk.place()
    desk.provider.show(order_json("BLK-1", PO, "Cancelled"))
    desk.send()
    row = desk.one(ORDERS)
    assert (row["state"], row["next_look_at"]) == ("Accepted", desk.clock.now)


def test_whatever_happened_the_log_agrees_with_the_rows(desk: Desk) -> None:
    for number in range(8):
        desk.place(f"po-{number}")
    desk.provider.will("place", LOST, POOR, BAD, NotSent("no"), DuplicateOrder([]), DuplicateOrder(["a", "b"]))
    for _ in range(3):
        desk.send(minutes=6)
    assert verify.verify(desk.store) == []
    assert sender.SENDS_AT_ONCE == 8
