"""Follows one order of the demonstration's week as a live one: each step goes through `ingest` at its own time.

The provider's side is the sandbox's past. Polls are made when the planner plans them, webhooks are received when the
sandbox would have sent them, and people act on what needs a decision.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking import ingest
from tracking.app.demonstration.past import Past, PastOrder
from tracking.app.demonstration.plan import Mishap, PlannedOrder
from tracking.app.demonstration.requests import face_values
from tracking.app.demonstration.team.acts import TEAM, PlannedAct, PlannedJob
from tracking.app.demonstration.team.journal import Entry, Journal
from tracking.errors import InsufficientFunds, OutcomeUnknown, Problem, RequestRejected
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import LEASE_MARGIN, follow_up_wait, wait_before_resend
from tracking.orders.model import Approval, State, Witness, is_open
from tracking.orders.observations import (
    Answered,
    Asked,
    Assigned,
    Attempted,
    Declined,
    Judged,
    Noted,
    Observation,
    Observed,
    Polled,
    Unclear,
    Unsent,
)
from tracking.orders.vocabulary import PollReason
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.json_fields import digest_of
from tracking.provider.masking import SecretMasker
from tracking.provider.responses import ParsedOrder, read_order
from tracking.provider.webhook_bodies import read_webhook_call
from tracking.storage import inbox, orders, outbox
from tracking.storage.tables import ORDERS
from tracking.storage.team.audit_log import AuditKind
from tracking.submissions.requests import read_request
from tracking.webhooks import address_book
from tracking.webhooks.receiver import RefusalRule

LONGEST_ATTEMPT = timedelta(seconds=8)  # one that would outlast the present is left to the live sender
LONGEST_CALL = timedelta(minutes=3)
THROTTLED_FOR = timedelta(minutes=12)
ACKNOWLEDGED_WITH = ("Customer informed, placed anew", "Refunded", "Agreed with the provider", "Known, no action")
_POLLED = ("next_look_at", "provider_id", "digest", "state", "type", "looks", "completed_after", "approval")
_NEXT_POLL = sa.select(*(ORDERS.c[name] for name in _POLLED)).where(ORDERS.c.id == sa.bindparam("wanted"))
_MASKER = SecretMasker(tuple)
_TAKEN_FIRST = 0.4  # the share of decisions for which somebody takes the order first
_HERE = "127.0.0.1"
_SYSTEM_ON_OTHER_HOST = "another-host/4711/9f2c61d0"
Step = Callable[[datetime], None]


@dataclass(slots=True)
class Desk:
    """What orders are followed with. `calls` gathers the records of the calls, `refusals` the refused webhook calls.

    `journal` does what people did; `address` makes an order's webhook address; `until` is the present.
    """

    connection: Connection
    past: Past
    planner: PlanningContext
    address: Callable[[str], str | None]
    until: datetime
    journal: Journal
    calls: list[tuple[int | None, ApiCallRecord]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class FollowedOrder:
    """Follows one order from its request, or its first sight, to the present."""

    def __init__(self, desk: Desk, planned: PlannedOrder, batch_id: int | None) -> None:
        self._desk, self._planned, self._batch_id = desk, planned, batch_id
        self._connection, self._rng = desk.connection, desk.planner.rng
        self._agenda: list[tuple[datetime, int, Step]] = []
        self._numbers = itertools.count()
        self._id: int | None = None
        self._there: PastOrder | None = None
        self._row: sa.Row[Any] | None = None
        self._polled_at = planned.at
        self._address = desk.address(planned.po_number) if planned.source != "elsewhere" else None
        document = dict(planned.document)
        if self._address:
            document["WebhookSettings"] = {"FulfillmentComplete": self._address}
        self._sent = document

    def run(self) -> None:
        """Follow it."""
        if self._planned.source == "elsewhere":
            self._there = self._place(self._planned.at)
            self._later(self._planned.at, self._rng.uniform(1, 25), self._discover)
        else:
            self._request(self._planned.at)
        if self._planned.person is not None:
            self._agenda_at(self._planned.at + self._planned.person[1], self._decide)
        for one in self._planned.acts:
            self._plan_act(one)
        while (step := self._next_step()) is not None:
            at, act = step
            act(at)
            self._row = None

    def _next_step(self) -> tuple[datetime, Step] | None:
        """The earliest of what is to come, the poll that is planned among it; None where that is yet to come."""
        planned = self._agenda[0][0] if self._agenda else None
        poll = self._next_poll()
        if poll is not None and (planned is None or poll < planned):
            return (poll, self._poll) if poll <= self._desk.until - timedelta(seconds=1) else None
        if planned is None or planned > self._desk.until:
            return None
        at, _, act = heapq.heappop(self._agenda)
        return at, act

    def _next_poll(self) -> datetime | None:
        if self._id is None:
            return None
        due: datetime | None = self._stored().next_look_at
        return due and due + timedelta(seconds=self._rng.uniform(0.02, 0.4))

    def _stored(self) -> sa.Row[Any]:
        """The order's row as the step before left it."""
        if self._row is None:
            self._row = self._connection.execute(_NEXT_POLL, {"wanted": self._id}).one()
        return self._row

    def _plan_act(self, planned: PlannedAct | PlannedJob) -> None:
        journal = self._desk.journal
        match planned:
            case PlannedAct(at):
                self._agenda_at(at, lambda _: journal.act(self._order_id, planned))
            case PlannedJob(_, at):
                batch = self._batch_id
                self._later(
                    at, self._rng.uniform(0.3, 1.5), lambda now: journal.take_part(self._order_id, planned, batch, now)
                )

    def _agenda_at(self, at: datetime, act: Step) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), act))

    def _later(self, at: datetime, seconds: float, act: Step) -> None:
        self._agenda_at(at + timedelta(seconds=seconds), act)

    # Sending

    def _request(self, at: datetime) -> None:
        planned = self._planned
        self._id = ingest.place(
            self._connection,
            read_request(dict(planned.document)),
            source=planned.source,
            actor=planned.actor,
            now=at,
            batch_id=self._batch_id,
            values=face_values(planned.document),
        )
        if planned.source == "form":  # a file is an import, and systems are no people
            detail = {"source": planned.source, "orders": 1}
            self._desk.journal.add(Entry(at, planned.actor or "", AuditKind.SUBMITTED, self._id, detail=detail))
        self._later(at, self._rng.uniform(0.05, 0.3), self._send)

    def _send(self, at: datetime) -> None:
        """One attempt, with the result that the order's mishap has for it."""
        order_id = self._order_id
        if self._stored().approval == Approval.WAITING:  # above a limit that is in force today
            colleague = next(name for name in TEAM if name != self._planned.actor)
            ingest.record_work(self._connection, order_id, Judged(approved=True), actor=colleague, now=at)
            self._desk.journal.add(Entry(at, colleague, AuditKind.APPROVED, order_id))
        number = outbox.record_attempts(self._connection, [order_id])[order_id]
        if self._address:
            address_book.store_addresses(self._connection, {order_id: self._address})
        self._observe(Observation(Witness.US, at, at, Attempted(number)))
        results = self._planned.mishap.value
        result = results[min(number, len(results)) - 1]
        if result == "cut off":
            lease = {"lease_owner": _SYSTEM_ON_OTHER_HOST, "lease_until": at + LONGEST_CALL + LEASE_MARGIN}
            self._connection.execute(outbox.UPDATE_OUTBOX, {"changed_id": order_id, **lease})
        elif result in {"accepted", "conflict", "taken"}:
            self._take_answer(at, adopted=result != "accepted")
        else:
            self._fail(at, number, result)

    def _take_answer(self, at: datetime, *, adopted: bool) -> None:
        """The provider took the order, or has one under its PONumber: this one, or one of somebody else."""
        ended = at + timedelta(seconds=self._rng.uniform(0.12, 0.6))
        self._there = self._there or self._place(at + timedelta(seconds=0.05))
        parsed = self._parsed(ended)
        assert parsed is not None  # noqa: S101 - nothing is passed over without a digest  # nosec B101
        if adopted:
            self._record(at, "POST", "/v1/Orders", 409, "duplicate", sent=True)
            self._record(at, "GET", f"/v1/Orders/{self._there.order.id}", 200, "ok", parsed)
        else:
            self._record(at, "POST", "/v1/Orders", 201, "ok", parsed, sent=True)
        answered = Answered(parsed.snapshot, adopted=adopted)
        self._observe(Observation(Witness.ANSWER, at, ended, answered), parsed)
        outbox.finish_outbox(self._connection, self._order_id, again_at=None)

    def _fail(self, at: datetime, number: int, result: str) -> None:
        """The attempt was refused, or nobody knows what became of it."""
        ended, again_at = at + timedelta(seconds=self._rng.uniform(0.1, 0.4)), None
        observed: Observed
        witness = Witness.US
        match result:
            case "too little balance":
                cost = sum(face_values(self._planned.document).values())
                short = InsufficientFunds(available=cost * 7 // 10, cost=cost)
                observed, witness = Declined(422, short.reason), Witness.ANSWER
                self._record(at, "POST", "/v1/Orders", 422, "funds", sent=True)
            case "rejected":
                problem = Problem("LineItems[0].Value", "is not an amount of this product")
                rejection = RequestRejected("the provider rejects the request", status=400, problems=[problem])
                observed, witness = Declined(400, rejection.reason), Witness.ANSWER
                self._record(at, "POST", "/v1/Orders", 400, "rejected", sent=True)
            case "throttled":
                observed, again_at = Unsent("the provider asks to wait"), ended + THROTTLED_FOR
                self._record(at, "POST", "/v1/Orders", 429, "throttled", sent=True)
            case _:
                ended = at + timedelta(seconds=self._rng.uniform(2, 6))
                if result == "timeout after":
                    self._there = self._there or self._place(at + timedelta(seconds=0.05))
                observed = Unclear(str(OutcomeUnknown("the provider failed", status=504)))
                again_at = ended + wait_before_resend(number, self._rng)
                self._record(at, "POST", "/v1/Orders", 504, "unknown", sent=True)
        self._observe(Observation(witness, at, ended, observed))
        error = getattr(observed, "reason", None)
        outbox.finish_outbox(self._connection, self._order_id, again_at=again_at, error=error)
        if again_at is not None and again_at + LONGEST_ATTEMPT < self._desk.until:
            self._later(again_at, self._rng.uniform(0, 0.2), self._send)

    def _place(self, at: datetime) -> PastOrder:
        """Place the order at the provider, with the webhooks that it sends of it; or the one that took its PONumber."""
        planned = self._planned
        taken = planned.mishap == Mishap.TAKEN
        elsewhere = planned.source == "elsewhere" or taken
        document = self._sent
        if taken:
            line = planned.document["LineItems"][0]
            document = dict(planned.document) | {"LineItems": [line | {"Quantity": line["Quantity"] + 3}]}
            at -= timedelta(hours=2)
        there = self._desk.past.place(document, at.timestamp(), planned.course, elsewhere=elsewhere)
        for due, body in there.webhooks:
            came_at = datetime.fromtimestamp(due, UTC) + timedelta(seconds=self._rng.uniform(0.02, 0.9))
            self._agenda_at(came_at, lambda now, body=body: self._take_webhook(now, body))  # type: ignore[misc]  # the default binds the loop's value
        return there

    # What comes afterwards

    def _discover(self, at: datetime) -> None:
        """The order is on a page of the provider's list."""
        ended = at + timedelta(seconds=self._rng.uniform(0.05, 0.3))
        parsed = self._parsed(at)
        assert parsed is not None  # noqa: S101 - as above  # nosec B101
        ingest.discover(self._connection, parsed, at, ended, self._desk.planner)
        self._id = orders.find_id(self._connection, self._planned.po_number)
        self._record(at, "GET", "/v1/Orders?pageIndex=1&pageSize=50", 200, "ok")

    def _poll(self, at: datetime) -> None:
        row = self._stored()
        if row.state == State.COMPLETED and row.digest and not self._changes(self._polled_at, at):
            self._poll_in_vain(row, at)
            return
        self._polled_at = at
        parsed = self._parsed(at, row.digest)
        ended = at + timedelta(seconds=self._rng.uniform(0.03, 0.2))
        polled = Polled(parsed.snapshot if parsed else None)
        self._observe(Observation(Witness.POLL, at, ended, polled), parsed)
        self._record(at, "GET", f"/v1/Orders/{row.provider_id}", 200, "ok", parsed)

    def _poll_in_vain(self, row: sa.Row[Any], at: datetime) -> None:
        """Poll a completed order whose lines do not change: that moves its next poll alone, so it is stored once."""
        looks, due = row.looks, at
        latest = min((self._desk.until, *(one[0] for one in self._agenda[:1])))
        while due is not None and due < latest and not self._changes(self._polled_at, due):
            self._polled_at, looks = due, looks + 1
            self._record(due, "GET", f"/v1/Orders/{row.provider_id}", 200, "ok")
            wait = follow_up_wait(row.type, due - row.completed_after, self._rng)
            due = None if wait is None else due + wait  # type: ignore[assignment]  # the last one
        why = None if due is None else PollReason.LINES_MAY_CHANGE.value
        values = {"looks": looks, "last_look_at": self._polled_at, "next_look_at": due, "next_look_why": why}
        orders.update_order(self._connection, self._order_id, values)

    def _changes(self, after: datetime, until: datetime) -> bool:
        """Whether the provider shows anything else than before from a time on."""
        assert self._there is not None  # noqa: S101 - it was placed  # nosec B101
        order, lines = self._there.order, self._there.lines
        times = [at for at, _ in order.steps] + [order.claims_at or 0.0]
        times += [at for line in lines for at in (line.lifecycle.fulfilled_at, line.lifecycle.moved_at) if at]
        return any(after.timestamp() < at <= until.timestamp() for at in times)

    def _take_webhook(self, at: datetime, body: bytes) -> None:
        call = read_webhook_call(body, "application/json")
        if call.po_number != self._planned.po_number:
            named = {"po_number": call.po_number, "provider_id": call.provider_id, "source": _HERE, "size": len(body)}
            reason, rule = "it names another order than its address", RefusalRule.ANOTHER_ORDER.value
            inbox.record_refusal(self._connection, {**named, "method": "POST", "reason": reason, "rule": rule}, at)
            self._desk.refusals.append(rule)
            return
        ingest.receive_webhook(self._connection, replace(call, source=_HERE), len(body), at, self._desk.planner)

    def _decide(self, at: datetime) -> None:
        """A person sends a refused order again, or acknowledges whatever else needs a decision."""
        stored = None if self._id is None else orders.find_order(self._connection, order_id=self._id, with_lines=False)
        if stored is None or self._planned.person is None:
            return
        if stored.order.attention is None:
            if is_open(stored.order.state):
                self._agenda_at(at + timedelta(hours=6), self._decide)
            return
        actor, journal = self._planned.person[0], self._desk.journal
        if stored.order.assignee is None and self._rng.random() < _TAKEN_FIRST:
            journal.act(stored.id, PlannedAct(at, actor, Assigned(actor)))
            self._later(at, self._rng.uniform(60, 900), self._decide)
        elif stored.order.state == State.REFUSED and self._planned.mishap == Mishap.BALANCE:
            journal.act(stored.id, PlannedAct(at, actor, Asked("resend")))
            self._later(at, self._rng.uniform(0.05, 0.5), self._send)
        else:
            text = self._rng.choice(ACKNOWLEDGED_WITH)
            journal.act(stored.id, PlannedAct(at, actor, Noted(text, acknowledges=True)))

    # Helpers

    @property
    def _order_id(self) -> int:
        assert self._id is not None  # noqa: S101 - only orders that are here are sent  # nosec B101
        return self._id

    def _observe(self, observation: Observation, parsed: ParsedOrder | None = None) -> None:
        ingest.observe(self._connection, self._order_id, observation, self._desk.planner, parsed=parsed)

    def _parsed(self, at: datetime, digest: str | None = None) -> ParsedOrder | None:
        """What the provider answered at a time; None where that has this digest."""
        assert self._there is not None  # noqa: S101 - it was placed  # nosec B101
        body: Mapping[str, Any] = self._desk.past.answer(self._there, at.timestamp())
        return None if digest_of(body) == digest else read_order(body)

    def _record(
        self,
        at: datetime,
        method: str,
        path: str,
        status: int,
        outcome: str,
        parsed: ParsedOrder | None = None,
        *,
        sent: bool = False,
    ) -> None:
        """Record a call as the client does; bodies of the last hours alone, as they are large."""
        recent = at > self._desk.until - timedelta(hours=6)
        request = _MASKER.json(self._planned.document) if sent and recent else None
        answer = _MASKER.json(parsed.document) if parsed and recent else None
        took = self._rng.randint(28, 190)
        record = ApiCallRecord(at, method, path, status, took, outcome, request=request, answer=answer)
        self._desk.calls.append((self._id, record))


def chance(seed: int, number: int) -> random.Random:
    """Seed the chance by which an order is followed."""
    return random.Random(f"{seed}/order/{number}")  # noqa: S311 - it guards nothing  # nosec B311
