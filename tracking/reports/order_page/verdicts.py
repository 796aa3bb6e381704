"""Verdict on one order: its state, what proves it, what webhook and poll say, and which acts are possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.forecasting.incidents import late_with_others
from tracking.forecasting.lateness import stored_limit
from tracking.orders import wording
from tracking.orders.latency import between
from tracking.orders.model import (
    ORDER_FIELDS,
    Approval,
    Order,
    State,
    Submission,
    WebhookStatus,
    allowed_actions,
    is_open,
)
from tracking.orders.vocabulary import AttentionReason, state_label
from tracking.orders.wording import clock, count, duration
from tracking.provider.masking import mask_json
from tracking.reports import amounts
from tracking.reports.explanations import (
    Expectation,
    confirmation_text,
    last_poll_text,
    late_limit_text,
    next_poll_text,
    order_expectation,
    others_text,
)
from tracking.reports.insights.latency import breakdown_of
from tracking.reports.order_page.approvals import approval_status
from tracking.reports.order_page.calls import indented
from tracking.reports.order_page.customer import customer_summary
from tracking.reports.order_page.rows import order_row
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, LINES
from tracking.storage.team.snoozing import is_snoozed

RAW_LENGTH = 20_000


class Tone(StrEnum):
    """Whether a status is as it should be."""

    GOOD = "good"
    WAITING = "waiting"
    BAD = "bad"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Status:
    """A status in a few words."""

    text: str
    tone: Tone

    def __str__(self) -> str:
        return self.text


_SUBMISSIONS = {
    Submission.QUEUED: Status("queued", Tone.WAITING),
    Submission.SENDING: Status("sending", Tone.WAITING),
    Submission.UNKNOWN: Status("unconfirmed", Tone.BAD),
    Submission.ACCEPTED: Status("accepted", Tone.GOOD),
    Submission.REFUSED: Status("refused", Tone.BAD),
    Submission.ELSEWHERE: Status("other system", Tone.NONE),
}
_APPROVALS: dict[str | None, Status] = {
    Approval.WAITING: Status("waits for approval", Tone.WAITING),
    Approval.DECLINED: Status("declined", Tone.BAD),
}
_WEBHOOKS = {
    WebhookStatus.NONE: Status("none received", Tone.NONE),
    WebhookStatus.CLAIMED: Status("completion received", Tone.WAITING),
    WebhookStatus.CONFIRMED: Status("completion received", Tone.GOOD),
    WebhookStatus.CONTRADICTED: Status("completion received", Tone.BAD),
}
_AGREEMENTS = {
    WebhookStatus.CLAIMED: Status("not confirmed yet", Tone.WAITING),
    WebhookStatus.CONFIRMED: Status("agrees with poll", Tone.GOOD),
    WebhookStatus.CONTRADICTED: Status("polls disagree", Tone.BAD),
}
WEBHOOK = "Webhook"


@dataclass(frozen=True, slots=True)
class OrderView:
    """All that one order's page shows above its timeline.

    `statuses`: the four things that are often mixed up, apart, in the order in which people read them. `agreement`:
    whether both witnesses, polls and webhook, say the same; None without a webhook. `decision`: what somebody has to
    decide, or who has. `work`: whose it is and until when it waits, each an icon's name and a text. `worth` is its
    face value, by currency. `allowed` maps an action to None or to why not.
    `summary` is for a customer.
    """

    id: int
    order: Order
    line_count: int
    event_count: int
    worth: str
    verdict: str
    evidence: tuple[str, ...]
    decision: str | None
    work: tuple[tuple[str, str], ...]
    is_snoozed: bool
    statuses: Mapping[str, Status]
    agreement: Status | None
    summary: str
    allowed: Mapping[str, str | None]
    raw: str | None


def order_view(database: Database, order_id: int, now: datetime) -> OrderView:
    """What the order's page says above the timeline.

    Raises:
        UnknownOrder: no order has this id.
    """
    with database.read() as connection:
        row = order_row(connection, order_id)
        order = Order(**{name: row[name] for name in ORDER_FIELDS})
        values = amounts.order_values(connection, [row])[order_id]
        expected = order_expectation(connection, row, now)
        limit = stored_limit(connection, row["type"], row["units"]) if expected and is_late(row, now) else None
        others = others_text(late_with_others(connection, row, now), now)
        took = breakdown_of(connection, order_id) if order.state == State.COMPLETED else None
        came_at = _first_notice_at(connection, order_id) or order.claimed_at
        confirmed = confirmation_text(connection, order, row, came_at)
        approval = approval_status(connection, order_id, order, now)
        handed_over = _cards_handed_over(connection, order_id) if order.state == State.COMPLETED else 0
    if confirmed is None and came_at is not None:
        confirmed = f"The provider's webhook said complete at {clock(came_at, now)}; not confirmed by a poll."
    verdict, evidence = _verdict(order, row, [confirmed] if confirmed else [], expected, now)
    if approval is not None:
        verdict, evidence = approval.verdict or verdict, [*approval.evidence, *evidence]
    if handed_over:
        verdict = f"{verdict.removesuffix('.')}; {count(handed_over, 'card')} handed over, not shipped yet."
        evidence.append("The provider reports the order complete while these are in transit; lines may still change.")
    before = (text for text in (expected and _basis(expected), limit and late_limit_text(limit), others) if text)
    return OrderView(
        id=order_id,
        order=order,
        line_count=row["line_count"],
        event_count=row["event_count"] - row["events_removed"],
        worth=amounts.worth(values),
        verdict=verdict,
        evidence=(*before, *evidence, *([took.text] if took is not None else [])),
        decision=_decision(order, now),
        work=tuple(_work(order, now)),
        is_snoozed=is_snoozed(row, now),
        statuses=_statuses(order, snoozed=is_snoozed(row, now)),
        agreement=_AGREEMENTS.get(WebhookStatus(order.notice)),
        summary=customer_summary(order, amounts.worth(values), expected, now, in_transit=handed_over),
        allowed=allowed_actions(order.state, order.provider_id, order.erased, order.attention_reason, order.approval),
        raw=indented(mask_json(row["document"], RAW_LENGTH)) if row["document"] else None,
    )


def _statuses(order: Order, *, snoozed: bool) -> dict[str, Status]:
    submission = _SUBMISSIONS.get(Submission(order.submission), Status(order.submission, Tone.NONE))
    return {
        "Our submission": submission if order.provider_id else _APPROVALS.get(order.approval, submission),
        "Provider status": _provider_status(order),
        WEBHOOK: _WEBHOOKS[WebhookStatus(order.notice)],
        "Our status": _our_status(order, snoozed=snoozed),
    }


def _provider_status(order: Order) -> Status:
    if order.state == State.REFUSED and order.approval != Approval.DECLINED:
        return Status("refused", Tone.BAD)
    if order.provider_status is None:
        return Status("none yet", Tone.NONE)
    tones: dict[str, Tone] = {State.COMPLETED: Tone.GOOD, State.CANCELLED: Tone.BAD}
    return Status(state_label(order.provider_status), tones.get(order.provider_status, Tone.WAITING))


def _our_status(order: Order, *, snoozed: bool) -> Status:
    if snoozed:
        return Status("snoozed", Tone.WAITING)
    if order.attention and order.acknowledged_at is None:
        return Status("needs a decision", Tone.BAD)
    if order.attention:
        return Status("acknowledged", Tone.NONE)
    return Status("open", Tone.WAITING) if is_open(order.state) else Status("final", Tone.GOOD)


def is_late(row: RowMapping, now: datetime) -> bool:
    """Whether the open order of this row is older than its limit."""
    return row["late_at"] is not None and row["late_at"] < now and is_open(row["state"])


def _basis(expected: Expectation) -> str:
    """What the estimate rests on; the estimate itself is in the verdict."""
    return expected.text.partition(". ")[2] if expected.half_within else expected.text


def _decision(order: Order, now: datetime) -> str | None:
    if not order.attention:
        return None
    if order.acknowledged_at is None:
        # The verdict of a refused order says why already.
        refused = order.state == State.REFUSED and order.attention_reason == AttentionReason.REFUSED
        why = wording.decision_words(order.attention, order.attention_reason, order.claimed_at, now)
        what = "resend it once the cause is settled, or acknowledge it" if refused else why
        return f"Needs a decision: {what}."
    who = wording.person(order.acknowledged_by) or "somebody"
    return f"Acknowledged by {who}, {clock(order.acknowledged_at, now)}: {order.acknowledged_why}"


def _work(order: Order, now: datetime) -> Iterator[tuple[str, str]]:
    """Who has the order, and until when it waits; a snooze whose time is over is said to be."""
    if order.assignee:
        yield "person", f"Assigned to {order.assignee}"
    if order.snoozed_at is None:
        return
    if order.snoozed_until is None:
        yield "snooze", f"Snoozed since {clock(order.snoozed_at, now)}, until something changes"
    elif order.snoozed_until > now:
        yield "snooze", f"Snoozed until {clock(order.snoozed_until, now)}"
    else:
        yield "alarm", f"Was snoozed until {clock(order.snoozed_until, now)}; it is due again"


def _cards_handed_over(connection: Connection, order_id: int) -> int:
    """How many cards the provider has handed over to whoever ships them, and has not shown as shipped."""
    cards = select(sa.func.sum(LINES.c.quantity)).where(
        LINES.c.order_id == order_id, LINES.c.status == "SentToFulfillment"
    )
    return int(connection.execute(cards).scalar() or 0)


def _first_notice_at(connection: Connection, order_id: int) -> datetime | None:
    """When the provider's first notice came; one may have waited for its order, which claims only once that is here."""
    genuine = select(CALLBACKS.c.received_at).where(CALLBACKS.c.order_id == order_id, CALLBACKS.c.outcome == "accepted")
    return connection.execute(genuine.order_by(CALLBACKS.c.id).limit(1)).scalar()


def _verdict(
    order: Order, row: RowMapping, evidence: list[str], expected: Expectation | None, now: datetime
) -> tuple[str, list[str]]:
    match order.state:
        case State.QUEUED | State.SENDING:
            return (
                f"{order.state}, placed {duration(now - order.created_at)} ago: no answer from the provider yet.",
                evidence,
            )
        case State.UNKNOWN:
            evidence.append("Resending is safe: the provider accepts the same PO number only once.")
            return "Unconfirmed: sent without an answer. The provider may or may not have the order.", evidence
        case State.REFUSED:
            reason = (order.attention or "the provider did not accept the order").removeprefix("refused: ")
            return f"Refused: {reason}.", evidence
        case State.COMPLETED | State.CANCELLED:
            return _closed_verdict(order, evidence)
        case _:
            return _open_verdict(order, row, now, evidence, expected)


def _closed_verdict(order: Order, evidence: list[str]) -> tuple[str, list[str]]:
    if order.completed_by is None:
        return f"{order.state}.", evidence
    if order.last_open_at is None or order.completed_after is None:
        first = clock(order.completed_by, order.created_at)
        return f"{order.state} some time before our first poll at {first}.", evidence
    evidence.append(_last_sight(order, clock(order.completed_after, order.created_at)))
    took = between(order.completed_after - order.created_at, order.completed_by - order.created_at)
    return f"{order.state} {took} after it was placed.", evidence


def _last_sight(order: Order, at: str) -> str:
    """Who saw a closed order open last; `at` says when. That may be our own POST, whose answer is no poll."""
    answer_at, open_at = order.accepted_at, order.last_open_at
    if order.submission != Submission.ELSEWHERE and answer_at and open_at and open_at <= answer_at:
        return f"Open at {at}, before the provider answered that it has the order; no poll found it open."
    return f"Previous poll, {at}: still open."


def _open_verdict(
    order: Order, row: RowMapping, now: datetime, evidence: list[str], expected: Expectation | None
) -> tuple[str, list[str]]:
    verdict = f"{state_label(order.state)}, placed {duration(now - order.created_at)} ago"
    if is_late(row, now):
        verdict += f", late since {clock(row['late_at'], now)}"
    if expected is not None and expected.half_within is not None:
        verdict += f"; expected by {wording.latest(now + expected.half_within, now)} (50 %)"
        if expected.nine_in_ten_within is not None:
            verdict += f", {wording.latest(now + expected.nine_in_ten_within, now)} (90 %)"
    if row["last_look_at"]:
        evidence.append(f"{last_poll_text(row, now)}: {order.provider_status or 'no status'}.")
    if row["next_look_at"]:
        evidence.append(next_poll_text(row, now))
    return verdict + ".", evidence
