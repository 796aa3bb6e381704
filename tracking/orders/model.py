"""What an order is: its states, its lines, its log. Pure; knows no clock and no store.

An order is the sum of its events: `rules.interpret` turns what was seen into events, `apply_event` folds an event into
the order. The same fold serves live and when the store is verified, so a row can always be recomputed from the log.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from tracking.orders.vocabulary import AttentionReason, attention_reason_of, folded_word
from tracking.values import value


class State(StrEnum):
    """The states with rules of their own. Any other word of the provider's is kept verbatim and means "in work"."""

    QUEUED = "Queued"
    SENDING = "Sending"
    UNKNOWN = "Outcome unknown"
    REFUSED = "Refused"
    ACCEPTED = "Accepted"
    PENDING = "Pending"
    PROCESSING = "Processing"
    AWAITING_APPROVAL = "AwaitingApproval"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


OUR_STATES = frozenset({State.QUEUED, State.SENDING, State.UNKNOWN, State.REFUSED, State.ACCEPTED})
PROVIDER_STATES = frozenset(State) - OUR_STATES
TERMINAL = frozenset({State.COMPLETED, State.CANCELLED})
CLOSED = TERMINAL | {State.REFUSED}
RESENDABLE = frozenset({State.UNKNOWN, State.REFUSED})


class Submission(StrEnum):
    """How far the order's way to the provider is."""

    QUEUED = "queued"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ELSEWHERE = "elsewhere"


class WebhookStatus(StrEnum):
    """What the provider's webhook said, and whether a look agreed."""

    NONE = "none"
    CLAIMED = "claimed"
    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"


class Approval(StrEnum):
    """What a second person says of an order above the limit; nothing leaves while it waits or once it was declined."""

    WAITING = "waiting"
    APPROVED = "approved"
    DECLINED = "declined"
    BYPASSED = "bypassed"
    """It waited, and the provider was found to have it: something else sent it, and nobody has approved it."""


class Witness(StrEnum):
    """Who says so: ourselves, the provider's answer to a submission, a poll, a webhook, a person."""

    US = "us"
    ANSWER = "answer"
    POLL = "poll"
    WEBHOOK = "webhook"
    PERSON = "person"


class OrderType(StrEnum):
    """The provider's delivery types; Codes must be enabled by the provider."""

    DIGITAL = "DigitalDelivery"
    LINKS = "Links"
    PHYSICAL = "PhysicalShipment"
    CODES = "Codes"


TYPE_UNKNOWN = "unknown"
_CLAIMED_TYPES = frozenset({OrderType.LINKS, OrderType.CODES})
LineDiffs = Sequence[Mapping[str, Any]]
LINE_STATUSES = ("Pending", "Completed", "Cancelled", "Sent", "Claimed", "SentToFulfillment", "Shipped")
FULFILLED_LINE = frozenset({"Completed", "Sent", "Claimed", "Shipped"})
CANCELLED_LINE = "Cancelled"
FINAL_LINE = frozenset({"Claimed", "Shipped", CANCELLED_LINE})


@value(frozen=True, slots=True)
class Line:
    """One line item. Money in minor units; `claims` counts the units whose claim data has been seen."""

    number: int
    product_id: str
    value_minor: int
    quantity: int
    status: str = State.PENDING.value
    claims: int = 0
    provider_line_id: str | None = None
    external_id: str | None = None
    recipient: str | None = None
    cost_minor: int | None = None
    claim_digest: str | None = None

    def fulfilled(self, order_type: str) -> int:
        """How many of the line's units are proven to be with the recipient or ready for them."""
        return _fulfilled(order_type, self.status, self.claims, self.quantity)

    def fulfilled_after(self, order_type: str, change: Mapping[str, Any]) -> int:
        """The same after one of an event's line changes."""
        status, claims = change.get("status", self.status), change.get("claims", self.claims)
        return _fulfilled(order_type, status, claims, self.quantity)


def _fulfilled(order_type: str, status: str, claims: int, quantity: int) -> int:
    if status not in FULFILLED_LINE:
        return 0
    return min(claims, quantity) if order_type in _CLAIMED_TYPES else quantity


Unit = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClaimData:
    """The claim data of one line: for each unit its labels with their values. No text of it ever shows them."""

    units: tuple[Unit, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"ClaimData({len(self)} units, not shown)"

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)  # without slots, as `apply_event` copies it as a whole: that takes a tenth of the time
class Order:
    """What is known of one order: the fold of its events. Money in minor units, times aware and in UTC.

    `erased` names the lines whose recipient a person has had erased, in the form of `condense_numbers`.
    `completed_there_at` is when the provider first showed it as Completed without all that proves it. Snoozed since
    `snoozed_at` it asks for nobody until `snoozed_until`, or without that until something changes. `approval` is a
    value of `Approval` where a second person has a say.
    """

    po_number: str
    type: str
    source: str
    created_at: datetime
    state: str = State.QUEUED.value
    submission: str = Submission.QUEUED.value
    notice: str = WebhookStatus.NONE.value
    provider_id: str | None = None
    provider_status: str | None = None
    units: int = 0
    units_fulfilled: int = 0
    value_minor: int = 0
    cost_minor: int | None = None
    currency: str | None = None
    note: str | None = None
    actor: str | None = None
    provider_created_at: datetime | None = None
    accepted_at: datetime | None = None
    last_open_at: datetime | None = None
    completed_after: datetime | None = None
    completed_by: datetime | None = None
    completed_there_at: datetime | None = None
    claimed_at: datetime | None = None
    attention: str | None = None
    attention_reason: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_why: str | None = None
    erased: str | None = None
    assignee: str | None = None
    snoozed_at: datetime | None = None
    snoozed_until: datetime | None = None
    approval: str | None = None
    lines: tuple[Line, ...] = field(default=(), compare=False)


_TIMES = frozenset(entry.name for entry in fields(Order) if "datetime" in str(entry.type))
ORDER_FIELDS = tuple(entry.name for entry in fields(Order) if entry.name != "lines")
_FACTS = frozenset(ORDER_FIELDS)
# By the places of fields a copy with changes takes a third of the time of `dataclasses.replace`.
_LINE_PLACES = {entry.name: place for place, entry in enumerate(fields(Line))}
_line_values_of = attrgetter(*_LINE_PLACES)


@value(frozen=True, slots=True)
class Event:
    """One entry of an order's log. `changes` are the facts it sets, JSON-able; `line_changes` the same for lines.

    `detail` is for people and never holds a recipient, a claim link or a secret. `happened_at` is when it came to pass
    as far as is known, `learned_at` when it reached us.
    """

    kind: str
    witness: Witness
    happened_at: datetime
    learned_at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    line_changes: LineDiffs = ()


class _LineTotals:
    """Sums over the lines of what has them."""

    __slots__ = ()
    lines: tuple[Line, ...]

    @property
    def units(self) -> int:
        """Cards over all lines."""
        return sum(line.quantity for line in self.lines)

    @property
    def value_minor(self) -> int:
        """Face value over all lines."""
        return sum(line.quantity * line.value_minor for line in self.lines)


@value(frozen=True, slots=True)
class Snapshot(_LineTotals):
    """An order as the provider showed it. `status` is the raw word with known words in their usual case.

    `line_count` is how many lines it showed, where its lines are given as ours are grouped. `unreadable` says why lines
    are left out; the order is not to be compared then.
    """

    provider_id: str
    po_number: str | None
    status: str
    type: str | None
    created_at: datetime | None
    lines: tuple[Line, ...]
    note: str | None = None
    currency: str | None = None
    line_count: int | None = None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class OrderRequest(_LineTotals):
    """An order to place. `document` is the JSON body in the provider's shape, without WebhookSettings."""

    po_number: str
    type: str
    lines: tuple[Line, ...]
    document: Mapping[str, Any]
    note: str | None = None


def folded_id(text: str) -> str:
    """The id as ids are compared: without regard to case, to how its letters are composed, and to space around it."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip().casefold()


def same_id(one: str, other: str) -> bool:
    """Whether both name the same order, line or product: providers change the case of what they echo."""
    return one == other or folded_id(one) == folded_id(other)


def is_terminal(state: str) -> bool:
    """Whether the provider will change the order no more."""
    return state in TERMINAL


def is_open(state: str) -> bool:
    """Whether somebody still waits for the order: not completed, cancelled or refused."""
    return state not in CLOSED


def usual_case(word: str, words: Iterable[str] = PROVIDER_STATES) -> str:
    """The provider's word as it is usually written; a word nobody knows comes back as it is."""
    folded = folded_word(word)
    return next((str(candidate) for candidate in words if folded_word(candidate) == folded), word.strip())


def apply_event(order: Order, event: Event) -> Order:
    """The order after the event."""
    changed = _decoded(event)
    lines = apply_lines(order.lines, event.line_changes) if event.line_changes and order.lines else order.lines
    return order_of({**order.__dict__, "lines": lines, **changed}) if changed or lines is not order.lines else order


def order_of(fields_and_lines: dict[str, Any]) -> Order:
    """The order of all its fields: to fill those of a new object one by one takes four times as long."""
    order = object.__new__(Order)
    object.__setattr__(order, "__dict__", fields_and_lines)
    return order


def first_order(event: Event, lines: tuple[Line, ...] = ()) -> Order:
    """The order that its first event describes, with these lines."""
    return Order(**_decoded(event), lines=lines)


def complete_changes(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The changes of an event with what one written before there were codes for reasons leaves out."""
    if "attention" not in changes or "attention_reason" in changes:
        return changes
    return {**changes, "attention_reason": attention_reason_of(changes["attention"])}


def _decoded(event: Event) -> dict[str, Any]:
    """The facts that the event sets, as the order holds them."""
    changes = complete_changes(event.changes)
    facts = {**changes} if _FACTS.issuperset(changes) else {name: changes[name] for name in changes if name in _FACTS}
    for name in _TIMES.intersection(facts):
        if isinstance(value := facts[name], str):
            facts[name] = datetime.fromisoformat(value)
    return facts


def apply_lines(lines: tuple[Line, ...], changes: LineDiffs) -> tuple[Line, ...]:
    """The lines after an event's line changes."""
    by_number = {line.number: line for line in lines}
    for change in changes:
        settings = [(_LINE_PLACES[name], value) for name, value in change.items() if name != "numbers"]
        for number in expand_numbers(change["numbers"]):
            values = list(_line_values_of(by_number[number]))
            for place, new in settings:
                values[place] = new
            by_number[number] = Line(*values)
    return tuple(by_number.values())


def expand_numbers(numbers: str | None) -> Iterable[int]:
    """The line numbers in a text such as "1-3,7"; none for None."""
    for part in numbers.split(",") if numbers else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def condense_numbers(numbers: Iterable[int]) -> str:
    """The shortest text that `expand_numbers` reads back: 1, 2, 3, 7 becomes "1-3,7"."""
    runs, ordered = [], sorted(set(numbers))
    if ordered and ordered[-1] - ordered[0] == len(ordered) - 1:  # one run, as it is most often
        return f"{ordered[0]}-{ordered[-1]}" if len(ordered) > 1 else str(ordered[0])
    for _, run in groupby(enumerate(ordered), lambda place: place[1] - place[0]):
        first, *rest = (number for _, number in run)
        runs.append(f"{first}-{rest[-1]}" if rest else str(first))
    return ",".join(runs)


def allowed_actions(
    order_state: str,
    provider_id: str | None,
    erased: str | None = None,
    reason: str | None = None,
    approval: str | None = None,
) -> dict[str, str | None]:
    """What a person may do: action to None when allowed, else to the reason why not.

    `erased` names lines whose recipient was erased, `reason` is the code why the order needs a person, `approval` what
    a second person says of it.
    """
    refusal = "a recipient was erased from this order; place it again under another PO number" if erased else None
    if approval == Approval.DECLINED:
        refusal = "an operator declined this order; place it again under another PO number"
    anew = refusal
    if approval == Approval.WAITING:
        refusal = "this order waits for the approval of a second operator"
    if provider_id is not None or (order_state not in RESENDABLE and approval != Approval.WAITING):
        refusal = "only an unconfirmed or refused order can be resent"
    if provider_id is not None or order_state != State.REFUSED or reason != AttentionReason.PO_NUMBER_MISMATCH:
        anew = "only an order whose PO number belongs to another order is placed anew under another one"
    nameless = "the provider has not given this order an ID yet; there is nothing to poll"
    unnamed = nameless if provider_id is None else None
    return {"check": unnamed, "resend": refusal, "place anew": anew, "note": None, "acknowledge": None}


def can_send(order: Order) -> bool:
    """Whether a POST may leave: never for an order the provider is known to have, or that nobody has approved."""
    unapproved = order.approval in {Approval.WAITING, Approval.DECLINED}
    return order.provider_id is None and order.submission != Submission.ELSEWHERE and not unapproved


def is_at_provider_unapproved(order: Order) -> bool:
    """Whether the provider has an order above the limit that nobody approved, or that somebody declined."""
    return order.provider_id is not None and order.approval in {Approval.BYPASSED, Approval.DECLINED}


def lines_may_change(order: Order) -> bool:
    """Whether lines of a finished order may still change: sent but not claimed, handed over but not shipped."""
    return order.state == State.COMPLETED and any(line.status not in FINAL_LINE for line in order.lines)
