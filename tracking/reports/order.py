"""One order as people read it: make its verdict, its timeline, its lines and its API calls.

Reads only, all bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import UnknownOrder
from tracking.forecasting.incidents import late_with_others
from tracking.forecasting.lateness import stored_limit
from tracking.orders import wording
from tracking.orders.latency import between
from tracking.orders.model import (
    ORDER_FIELDS,
    Line,
    Order,
    State,
    Submission,
    WebhookStatus,
    Witness,
    allowed_actions,
    is_open,
)
from tracking.orders.wording import TimelineEntry, clock, count, duration
from tracking.provider import people
from tracking.provider.json_fields import storable
from tracking.provider.masking import mask_json, mask_recipient
from tracking.reports import amounts
from tracking.reports.explanations import (
    confirmation_text,
    late_limit_text,
    next_poll_text,
    order_expectation,
    others_text,
)
from tracking.reports.latency import breakdown_of
from tracking.startup import pd
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES, LINES, ORDERS, OUTBOX

EVENTS_READ = 5000
LINES_PER_PAGE = 100
CALLS_LISTED = 50
RAW_LENGTH = 20_000
_TO_SEND = frozenset({Submission.QUEUED, Submission.SENDING, Submission.UNKNOWN})


_SUBMISSION_LABELS: dict[str, str] = {Submission.UNKNOWN: "unconfirmed", Submission.ELSEWHERE: "other system"}
_WEBHOOK_LABELS = {
    WebhookStatus.NONE: "none received",
    WebhookStatus.CLAIMED: "completion received, not confirmed yet",
    WebhookStatus.CONFIRMED: "completion received, confirmed by poll",
    WebhookStatus.CONTRADICTED: "completion received, contradicted by polls",
}


@dataclass(frozen=True, slots=True)
class OrderView:
    """All that one order's page shows above its timeline.

    `statuses`: the four things that are often mixed up, apart, each in words under its label, in the order in which
    people read them. `worth` is its face value, by currency. `allowed` maps an action to None or to why not.
    """

    id: int
    order: Order
    line_count: int
    event_count: int
    worth: str
    verdict: str
    evidence: tuple[str, ...]
    statuses: Mapping[str, str]
    allowed: Mapping[str, str | None]
    raw: str | None


# Finding an order


def find_order_ids(database: Database, any_id: str) -> list[int]:
    """The order with this PONumber or provider id; failing that, those with this external id or recipient, two at most.

    A recipient is found however written.
    """
    text = storable(any_id.strip())
    if not text:
        return []
    forms = sorted(people.read_spelling(text).forms)
    person = sa.or_(sa.false(), *(LINES.c.recipient_key.contains(f"\n{form}\n", autoescape=True) for form in forms))
    searches = (
        select(LINES.c.order_id).where(LINES.c.external_id == text).distinct().limit(2),
        select(LINES.c.order_id).where(person).distinct().limit(2),
    )
    with database.read() as connection:
        if (row_id := orders.find_id(connection, text)) is not None:
            return [row_id]
        each = (connection.execute(query).scalars().all() for query in searches)
        return [int(row_id) for row_id in next((row_ids for row_ids in each if row_ids), ())]


def _row(connection: Connection, order_id: int) -> RowMapping:
    row = connection.execute(select(ORDERS).where(ORDERS.c.id == order_id)).mappings().one_or_none()
    if row is None:
        raise UnknownOrder(f"no order has the number {order_id}")
    return row


# One order


def order_record(database: Database, order_id: int) -> dict[str, Any]:
    """The order as `order --json` prints it; recipients are masked.

    Raises:
        UnknownOrder: no order has this id.
    """
    with database.read() as connection:
        row = _row(connection, order_id)
        lines = connection.execute(select(LINES).where(LINES.c.order_id == order_id).order_by(LINES.c.number))
        currency_of = _currency_of_lines(connection, row)
        line_records = [_line_record(line, row["type"], currency_of) for line in lines.mappings()]
        values = amounts.order_values(connection, [row])[order_id]
        events = [_event_record(entry) for entry in _as_happened(_events(connection, order_id))]
    return order_summary(row, values) | {"lines": line_records, "timeline": events}


def _currency_of_lines(connection: Connection, order: RowMapping) -> Callable[[str], str]:
    """What gives the currency of a line by its product: the order's or, where it does not say, the catalogue's."""
    if amounts.is_one_currency(order["currency"]):
        return lambda _: str(order["currency"])
    by_product = amounts.currencies(connection)
    return lambda product_id: by_product.get(product_id.casefold(), "")


def order_summary(row: RowMapping, values: Mapping[str, int]) -> dict[str, Any]:
    """What the command line prints of an order in a list; `value` is null where it is of several currencies.

    `values` are the amounts by currency, "" where nobody knows it.
    """
    times = ("created_at", "accepted_at", "completed_after", "completed_by", "next_look_at")
    return {
        **{name: row[name] for name in ("po_number", "provider_id", "state", "type", "units")},
        "value": amounts.one_amount(values),
        "values": amounts.decimal_texts(values),
        "source": row["source"],
        "claimed": row["notice"] != WebhookStatus.NONE,
        **{name: _iso(row[name]) for name in times},
    }


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _event_record(entry: TimelineEntry) -> dict[str, Any]:
    times = {"at": _iso(entry.at), "learned_at": _iso(entry.learned_at)}
    told = {name: getattr(entry, name) for name in ("witness", "kind", "text", "seq")}
    return times | told | {"state": entry.changes.get("state")}


def _line_record(line: RowMapping, order_type: str, currency_of: Callable[[str], str]) -> dict[str, Any]:
    names = ("number", "product_id", "value_minor", "quantity", "status", "claims")
    counted, currency = Line(**{name: line[name] for name in names}), currency_of(line["product_id"])
    return {
        "number": line["number"],
        "product_id": line["product_id"],
        "value": wording.amount(line["value_minor"], currency),
        "currency": currency or None,
        "quantity": line["quantity"],
        "status": line["status"],
        "fulfilled": counted.fulfilled(order_type),
        **{name: line[name] for name in ("claims", "provider_line_id", "external_id")},
        "recipient": _recipient(line),
    }


def _recipient(line: RowMapping) -> str | None:
    """Masked; of a recipient who was erased, that."""
    if line["recipient"]:
        return mask_recipient(line["recipient"])
    return "erased" if line["recipient_hash"] else None


def _events(connection: Connection, order_id: int, limit: int = EVENTS_READ, offset: int = 0) -> list[TimelineEntry]:
    """The newest first."""
    newest = select(EVENTS).where(EVENTS.c.order_id == order_id).order_by(EVENTS.c.seq.desc())
    return [wording.describe_event(row) for row in connection.execute(newest.limit(limit).offset(offset)).mappings()]


def _as_happened(events: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """In the order in which they happened, which is not the one in which we learned of them."""
    return sorted(events, key=lambda event: (event.at, event.seq))


def timeline(database: Database, order_id: int, now: datetime) -> list[TimelineEntry]:
    """The order's events as they happened, runs of equal looks as one row, the next scheduled step last."""
    with database.read() as connection:
        row = _row(connection, order_id)
        rows = wording.merge_repeats(_as_happened(_events(connection, order_id)))
        waiting = OUTBOX.c.order_id == order_id, OUTBOX.c.done.is_(False)
        send_at = connection.execute(select(OUTBOX.c.next_attempt_at).where(*waiting)).scalar()
    return [*rows, ahead] if (ahead := _next_step(row, send_at, now)) is not None else rows


def _next_step(row: RowMapping, send_at: datetime | None, now: datetime) -> TimelineEntry | None:
    if send_at is not None and row["submission"] in _TO_SEND:
        text = "Resend under the same PO number" if row["submission"] == Submission.UNKNOWN else "Send to provider"
        at, witness = max(send_at, now), Witness.US
    elif row["next_look_at"] is not None:
        # A list page that shows the order may come sooner.
        reason = wording.poll_reason(row["next_look_why"])
        text = f"Next poll at the latest: {reason}" if reason else "Next poll at the latest"
        at, witness = max(row["next_look_at"], now), Witness.POLL
    else:
        return None
    return TimelineEntry(at=at, until=at, learned_at=at, witness=witness.value, kind="ahead", text=text, ahead=True)


def all_events(database: Database, order_id: int, page: int = 1, size: int = 100) -> list[TimelineEntry]:
    """One page of the order's events, newest first."""
    with database.read() as connection:
        return _events(connection, order_id, size, (page - 1) * size)


def order_view(database: Database, order_id: int, now: datetime) -> OrderView:
    """What the order's page says above the timeline.

    Raises:
        UnknownOrder: no order has this id.
    """
    with database.read() as connection:
        row = _row(connection, order_id)
        order = Order(**{name: row[name] for name in ORDER_FIELDS})
        values = amounts.order_values(connection, [row])[order_id]
        expected = order_expectation(connection, row, now)
        limit = None if expected is None else stored_limit(connection, row["type"], row["units"])
        others = others_text(late_with_others(connection, row, now), now)
        took = breakdown_of(connection, order_id) if order.state == State.COMPLETED else None
        came_at = _first_notice_at(connection, order_id) or order.claimed_at
        confirmed = confirmation_text(connection, order, row, came_at)
        handed_over = _cards_handed_over(connection, order_id) if order.state == State.COMPLETED else 0
    if confirmed is None and came_at is not None:
        confirmed = f"The provider's webhook said complete at {clock(came_at, now)}; not confirmed by a poll."
    verdict, evidence = _verdict(order, row, [confirmed] if confirmed else [], now)
    if handed_over:
        verdict = f"{verdict.removesuffix('.')}; {count(handed_over, 'card')} handed over, not shipped yet."
        evidence.append("The provider reports the order complete while these are in transit; lines may still change.")
    before = (text for text in (expected and expected.text, limit and late_limit_text(limit), others) if text)
    return OrderView(
        id=order_id,
        order=order,
        line_count=row["line_count"],
        event_count=row["event_count"],
        worth=amounts.worth(values),
        verdict=verdict,
        evidence=(*before, *evidence, *([took.text] if took is not None else [])),
        statuses=_statuses(order),
        allowed=allowed_actions(order.state, order.provider_id, order.erased, order.attention_reason),
        raw=_indented(mask_json(row["document"], RAW_LENGTH)) if row["document"] else None,
    )


def _statuses(order: Order) -> dict[str, str]:
    ours = "open" if is_open(order.state) else "final"
    if order.attention:
        # The verdict of a refused order says why already.
        ours = "needs a decision" if order.state == State.REFUSED else f"needs a decision: {order.attention}"
        if order.acknowledged_at:
            ours = f"acknowledged by {order.acknowledged_by or 'somebody'}: {order.acknowledged_why}"
    return {
        "Our submission": _SUBMISSION_LABELS.get(order.submission, order.submission),
        "Provider status": order.provider_status or ("refused" if order.state == State.REFUSED else "none yet"),
        "Webhook": _WEBHOOK_LABELS.get(WebhookStatus(order.notice), order.notice),
        "Our status": ours,
    }


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


def _verdict(order: Order, row: RowMapping, evidence: list[str], now: datetime) -> tuple[str, list[str]]:
    match order.state:
        case State.QUEUED | State.SENDING:
            return f"{order.state} for {duration(now - order.created_at)}: no answer from the provider yet.", evidence
        case State.UNKNOWN:
            evidence.append("Resending is safe: the provider accepts the same PO number only once.")
            return "Unconfirmed: sent without an answer. The provider may or may not have the order.", evidence
        case State.REFUSED:
            reason = (order.attention or "the provider did not accept the order").removeprefix("refused: ")
            return f"Refused: {reason}.", evidence
        case State.COMPLETED | State.CANCELLED:
            return _closed_verdict(order, evidence)
        case _:
            return _open_verdict(order, row, now, evidence)


def _closed_verdict(order: Order, evidence: list[str]) -> tuple[str, list[str]]:
    if order.completed_by is None:
        return f"{order.state}.", evidence
    if order.last_open_at is None or order.completed_after is None:
        last = wording.latest(order.completed_by, order.created_at)
        return f"{order.state} some time before our first poll at {last}.", evidence
    evidence.append(f"Previous poll, {clock(order.completed_after, order.created_at)}: still open.")
    took = between(order.completed_after - order.created_at, order.completed_by - order.created_at)
    return f"{order.state} {took} after it was placed.", evidence


def _open_verdict(order: Order, row: RowMapping, now: datetime, evidence: list[str]) -> tuple[str, list[str]]:
    verdict = f"{order.state} for {duration(now - order.created_at)}"
    if row["late_at"] and row["late_at"] < now:
        verdict += f", late since {clock(row['late_at'], now)}"
    if row["last_look_at"]:
        ago = duration(now - row["last_look_at"])
        evidence.append(f"Last of {count(row['looks'], 'poll')}, {ago} ago: {order.provider_status or 'no status'}.")
    if row["next_look_at"]:
        evidence.append(next_poll_text(row, now))
    return verdict + ".", evidence


def lines_page(database: Database, order_id: int, page: int = 1, size: int = LINES_PER_PAGE) -> pd.DataFrame:
    """One page of the order's lines; recipients are masked, values are texts with their currency."""
    with database.read() as connection:
        order = _row(connection, order_id)
        currency_of = _currency_of_lines(connection, order)
        query = select(LINES).where(LINES.c.order_id == order_id).order_by(LINES.c.number)
        rows = connection.execute(query.limit(size).offset((page - 1) * size)).mappings().all()
    names = ["number", "product_id", "value", "quantity", "status", "fulfilled", "external_id", "recipient"]
    records = [
        _line_record(row, order["type"], currency_of)
        | {"value": wording.money(row["value_minor"], currency_of(row["product_id"]))}
        for row in rows
    ]
    frame = pd.DataFrame(records, columns=names)
    return frame if (status := _status_of_all(order)) is None else frame.assign(status=status)


def _status_of_all(order: RowMapping) -> str | None:
    """The status of all lines where the provider has shown none: what is stored of them is nobody's word."""
    if order["provider_id"] is not None:
        return None
    return "not placed" if order["state"] == State.REFUSED else "not shown yet"


def line_progress(database: Database, order_id: int) -> pd.DataFrame:
    """How many lines and cards are in which state: columns status, lines, cards."""
    with database.read() as connection:
        status = _status_of_all(_row(connection, order_id))
        column = LINES.c.status if status is None else sa.literal(status).label("status")
        counted = select(column, sa.func.count(), sa.func.sum(LINES.c.quantity)).where(LINES.c.order_id == order_id)
        rows = connection.execute(counted.group_by(column).order_by(column)).all()
    return pd.DataFrame(rows, columns=["status", "lines", "cards"])


def api_calls(database: Database, order_id: int, limit: int = CALLS_LISTED) -> list[dict[str, Any]]:
    """The newest calls that concern the order, list pages that showed it included; bodies are masked."""
    polled = select(EVENTS.c.happened_at).where(EVENTS.c.order_id == order_id, EVENTS.c.witness == Witness.POLL)
    # A look happens when its call leaves, whatever the call asked for.
    listed = (EXCHANGES.c.order_id.is_(None), EXCHANGES.c.method == "GET", EXCHANGES.c.path.startswith("/v1/Orders"))
    conditions = ((EXCHANGES.c.order_id == order_id,), (*listed, EXCHANGES.c.at.in_(polled)))
    queries = (select(EXCHANGES).where(*one).order_by(EXCHANGES.c.at.desc()).limit(limit) for one in conditions)
    with database.read() as connection:
        calls = [dict(row) for query in queries for row in connection.execute(query).mappings()]
    newest = sorted(calls, key=lambda call: (call["at"], call["id"]), reverse=True)[:limit]
    return [call | {name: _indented(call[name]) for name in ("request", "answer")} for call in newest]


def _indented(text: str | None) -> str | None:
    """JSON on lines of its own; anything else, such as JSON that was cut, as it is."""
    try:
        return text and json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
