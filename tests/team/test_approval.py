"""Orders above the limit wait for a second person, and nothing leaves before: whoever asks, and however often."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from histories import PLANNER, History, find_order_id
from sqlalchemy import select

from tracking import ingest
from tracking.access import Access, Person
from tracking.errors import InvalidNote, NotAllowed, NotPermitted, UnknownOrder
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Attempted, Observation, Polled
from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.orders.vocabulary import reason_label
from tracking.provider.responses import ParsedOrder
from tracking.reports import order as order_reports
from tracking.reports.health import component_status
from tracking.reports.order_list import view_counts
from tracking.reports.order_page import story, verdicts
from tracking.storage import orders, outbox
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import ORDERS, OUTBOX
from tracking.storage.team import approval_rule
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions
from tracking.submissions.results import order_statuses
from tracking.team import approval

SUBMITTER = Person("ann@example.com", signed_in=True)  # `History` places orders as "Ann"
BOB, EVE = Person("bob@example.com", signed_in=True), Person("eve@example.com", signed_in=True)
LEASE = timedelta(minutes=1)


def limit(store: Database, text: str | None, now: datetime) -> bool:
    return approval_rule.enforce(store, ApprovalLimit.parse(text) if text else None, now)


def leased(store: Database, now: datetime) -> list[int]:
    return [
        row["order_id"]
        for row in store.write(lambda connection: outbox.lease_outbox(connection, now, owner="x", lease=LEASE, limit=9))
    ]


def stored(store: Database, po_number: str) -> Any:
    order = store.write(lambda connection: orders.find_order(connection, po_number=po_number))
    assert order is not None
    return order.order


def late_at(store: Database, po_number: str) -> Any:
    with store.read() as connection:
        return connection.execute(select(ORDERS.c.late_at).where(ORDERS.c.po_number == po_number)).scalar_one()


@pytest.fixture
def history(store: Database, now: datetime) -> History:
    """FT-1 waits, as it is above the limit; FT-2 does not."""
    made = History(store, now)
    limit(store, "10", now)
    made.place("FT-1", value=1001)
    made.place("FT-2", value=1000)
    return made


def test_an_order_above_the_limit_is_sent_once_a_second_person_approved_it(
    store: Database, history: History, now: datetime
) -> None:
    number = history.numbers["FT-1"]
    assert (stored(store, "FT-1").approval, stored(store, "FT-2").approval) == ("waiting", None)
    later = now + timedelta(hours=2)
    assert leased(store, later) == [history.numbers["FT-2"]]
    store.write(lambda connection: outbox.finish_outbox(connection, history.numbers["FT-2"], again_at=None))
    view = verdicts.order_view(store, number, later)
    assert view.verdict == "Waiting 2 h 0 min for a second operator's approval: above the limit of 10.00."
    assert str(view.statuses["Our submission"]) == "waits for approval"
    assert "We are checking it before it is passed on" in view.summary
    assert story.timeline(store, number, later)[-1].text == "Send to provider, once a second operator approved it"
    with store.read() as connection:
        assert view_counts.unapproved(connection, later).orders == 1
        late = connection.execute(select(ORDERS.c.po_number).where(ORDERS.c.late_at < later)).scalars().all()
        assert "FT-1" not in late
        [sender] = [each for each in component_status(connection, later) if each.name == "Sender"]
        assert not sender.worrying
    approval.approve(store, "FT-1", by=BOB, now=later, why="the customer called")
    assert late_at(store, "FT-1") > later
    assert leased(store, later) == [number]
    history.at = later
    history.accept("FT-1")
    view = verdicts.order_view(store, number, later)
    assert f"Approved by bob@example.com, {later:%H:%M:%S}: the customer called. It had to be: " in " ".join(
        view.evidence
    )
    assert view.verdict.startswith("Pending")
    assert order_reports.order_record(store, number)["approval"] == "approved"
    assert verify(store) == []


def test_a_declined_order_is_never_sent_by_whatever_way(store: Database, history: History, now: datetime) -> None:
    with pytest.raises(InvalidNote):
        approval.decline(store, "FT-1", by=BOB, now=now, why=" ")
    approval.decline(store, "FT-1", by=BOB, now=now, why="nobody ordered this")
    assert late_at(store, "FT-1") is None
    number = history.numbers["FT-1"]
    with store.read() as connection:
        assert connection.execute(select(ORDERS.c.late_at).where(ORDERS.c.id == number)).scalar_one() is None
    for act in (actions.resend, actions.check_now):
        with pytest.raises(NotAllowed):
            act(store, "FT-1", by=EVE, now=now)
    store.write(lambda connection: outbox.requeue(connection, number, now))
    assert leased(store, now + LEASE) == [history.numbers["FT-2"]]
    with pytest.raises(ValueError, match="must not be sent"):
        history.see("FT-1", Attempted(1), Witness.US)
    view = verdicts.order_view(store, number, now)
    assert view.verdict == f"Declined by bob@example.com, {now:%H:%M:%S}: nobody ordered this. It was never sent."
    assert "We decided not to pass it on to our supplier" in view.summary
    assert str(view.statuses["Provider status"]) == "none yet"
    assert view.order.attention is None
    assert view.allowed["place anew"]
    assert verify(store) == []


def test_whoever_may_not_judge_is_refused_by_the_backend(store: Database, history: History, now: datetime) -> None:
    refused = {
        "is a name that no sign-in proves": Person("Bob"),
        "only an operator may do this": Person("vi@example.com", Access.VIEWER, signed_in=True),
        "no name is given": Person(" ", signed_in=True),
    }
    for message, by in refused.items():
        with pytest.raises(NotPermitted, match=message):
            approval.approve(store, "FT-1", by=by, now=now)
        with pytest.raises(NotPermitted, match=message):
            approval.decline(store, "FT-1", by=by, now=now, why="no")
    for name in ("ann", " Ann ", "cli:Ann"):
        with pytest.raises(NotAllowed, match="you submitted this order"):
            approval.approve(store, "FT-1", by=Person(name, signed_in=True), now=now)
    with pytest.raises(NotAllowed, match="does not wait for an approval"):
        approval.approve(store, "FT-2", by=BOB, now=now)
    with pytest.raises(UnknownOrder):
        approval.approve(store, "FT-9", by=BOB, now=now)
    with pytest.raises(NotAllowed, match="waits for the approval"):
        actions.resend(store, "FT-1", by=BOB, now=now)
    with store.read() as connection:
        assert connection.execute(select(AUDIT_LOG.c.seq)).all() == []


def test_of_an_approval_and_a_refusal_at_once_exactly_one_counts(store: Database, now: datetime) -> None:
    history = History(store, now)
    limit(store, "0", now)
    for number in range(12):
        history.place(f"FT-{number}", value=100)

    def judge(by: Person) -> list[str]:
        won = []
        for number in range(12):
            act: Callable[..., None] = approval.approve if by is BOB else approval.decline
            try:
                act(store, f"FT-{number}", by=by, now=now, why="so")
            except NotAllowed:
                continue
            won.append(f"FT-{number}")
        return won

    with ThreadPoolExecutor(2) as pool:
        approved, declined = pool.map(judge, (BOB, EVE))
    assert len(approved) + len(declined) == len({*approved, *declined}) == 12
    assert sorted(leased(store, now) + leased(store, now)) == sorted(history.numbers[each] for each in approved)
    with store.read() as connection:
        entries = connection.execute(select(AUDIT_LOG.c.person, AUDIT_LOG.c.kind).order_by(AUDIT_LOG.c.seq)).all()
        held = connection.execute(select(OUTBOX.c.order_id).where(OUTBOX.c.held)).scalars().all()
    assert sorted(entries) == sorted(
        [("bob@example.com", "approved")] * len(approved) + [("eve@example.com", "declined")] * len(declined)
    )
    assert sorted(held) == sorted(history.numbers[each] for each in declined)
    assert verify(store) == []


def test_another_limit_neither_holds_nor_releases_what_is_there(
    store: Database, history: History, now: datetime
) -> None:
    assert limit(store, "5", now)
    assert not limit(store, "5", now)
    assert leased(store, now) == [history.numbers["FT-2"]]
    assert limit(store, None, now)
    assert stored(store, "FT-1").approval == "waiting"
    assert leased(store, now) == []
    history.place("FT-3", value=10**6)
    assert stored(store, "FT-3").approval is None


def test_an_order_placed_anew_waits_by_itself(store: Database, history: History, now: datetime) -> None:
    document = {"Type": "Links", "PONumber": "FT-5", "LineItems": [{"ProductId": "CVS", "Value": 20, "Quantity": 1}]}
    limit(store, None, now)
    history.place("FT-5")
    store.write(
        lambda connection: connection.execute(
            OUTBOX.update().where(OUTBOX.c.order_id == history.numbers["FT-5"]).values(request=document)
        )
    )
    limit(store, "10", now)
    other = Line(1, "MOVIE", 5, 1)
    snapshot = history.snapshot("FT-5", "Pending", [other])
    history.see("FT-5", Polled(snapshot), shown=ParsedOrder(snapshot, {}, "digest"))
    assert actions.place_anew(store, "FT-5", "FT-6", by=SUBMITTER, now=now, wants_both=True) == "FT-6"
    assert stored(store, "FT-6").approval == "waiting"
    with pytest.raises(NotAllowed, match="you submitted"):
        approval.approve(store, "FT-6", by=SUBMITTER, now=now)


@pytest.mark.parametrize("declined", [False, True])
@pytest.mark.parametrize("status", ["Pending", "Completed"])
def test_an_order_that_the_provider_has_without_an_approval_needs_a_decision(
    store: Database, history: History, now: datetime, status: str, *, declined: bool
) -> None:
    number = history.numbers["FT-1"]
    if declined:
        approval.decline(store, "FT-1", by=BOB, now=now, why="nobody ordered this")

    def look(status: str) -> Any:
        snapshot = history.snapshot("FT-1", status)
        history.see("FT-1", Polled(snapshot), shown=ParsedOrder(snapshot, {}, f"digest of {status}"))
        return stored(store, "FT-1")

    order = look(status)
    words = "though it was declined here" if declined else "nobody approved it"
    assert (order.state, order.approval) == (status, "declined" if declined else "bypassed")
    assert (order.attention_reason, order.acknowledged_at) == ("not approved", None)
    assert words in order.attention
    assert reason_label(order.attention_reason) == "At the provider without approval"
    with pytest.raises(NotAllowed, match="does not wait for an approval"):
        approval.decline(store, "FT-1", by=BOB, now=now, why="too late")
    with store.read() as connection:
        assert connection.execute(select(OUTBOX.c.done).where(OUTBOX.c.order_id == number)).scalar_one()
        assert view_counts.unapproved(connection, now).orders == 0
    assert leased(store, now) == [history.numbers["FT-2"]]
    view = verdicts.order_view(store, number, now)
    assert ("Yet the provider has it." if declined else "Nobody approved it") in " ".join(view.evidence)
    assert str(view.statuses["Our submission"]) == "accepted"
    assert words in order_statuses(store, ["FT-1"])["FT-1"].message
    assert look("Completed").attention_reason == "not approved", "that it is complete answers nothing"
    actions.acknowledge(store, "FT-1", by=BOB, now=now, why="sent by the shop")
    assert look("Completed").acknowledged_at
    assert find_order_id(store, "FT-1") == number
    assert verify(store) == []


def test_what_else_is_wrong_with_it_hides_no_missing_approval(store: Database, history: History, now: datetime) -> None:
    for number, status in (("FT-1", "OnHold"), ("FT-3", "Cancelled")):
        if number == "FT-3":
            history.place(number, value=1001)
        snapshot = history.snapshot(number, status)
        history.see(number, Polled(snapshot), shown=ParsedOrder(snapshot, {}, "digest"))
    assert [stored(store, number).attention_reason for number in ("FT-1", "FT-3")] == ["unknown status", "cancelled"]
    assert {stored(store, number).approval for number in ("FT-1", "FT-3")} == {"bypassed"}
    done = history.snapshot("FT-1", "Completed")
    history.see("FT-1", Polled(done), shown=ParsedOrder(done, {}, "another"))
    assert (stored(store, "FT-1").state, stored(store, "FT-1").attention_reason) == ("Completed", "not approved")
    assert verify(store) == []


def test_an_order_that_waits_while_another_takes_its_po_number_is_not_approved(
    store: Database, history: History, now: datetime
) -> None:
    snapshot = history.snapshot("FT-1", "Pending", [Line(1, "MOVIE", 5, 1)])
    history.see("FT-1", Polled(snapshot), shown=ParsedOrder(snapshot, {}, "digest"))
    assert (stored(store, "FT-1").state, stored(store, "FT-1").approval) == ("Refused", "waiting")
    with pytest.raises(NotAllowed, match="it is Refused by now"):
        approval.approve(store, "FT-1", by=BOB, now=now)
    with pytest.raises(NotAllowed, match="waits for the approval"):
        actions.resend(store, "FT-1", by=BOB, now=now)
    approval.decline(store, "FT-1", by=BOB, now=now, why="its number is taken")
    assert leased(store, now) == [history.numbers["FT-2"]]
    assert verify(store) == []


def test_an_order_that_nobody_approved_cannot_be_attempted(store: Database, history: History, now: datetime) -> None:
    with pytest.raises(ValueError, match="must not be sent"):
        store.write(
            lambda connection: ingest.observe(
                connection, history.numbers["FT-1"], Observation(Witness.US, now, now, Attempted(1)), PLANNER
            )
        )
