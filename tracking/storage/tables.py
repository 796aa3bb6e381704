"""The SQLModel tables. No logic; times are aware and in UTC, money is in minor units.

`from __future__ import annotations` must not stand here: SQLModel reads the annotations while the classes are made.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlmodel import Field, SQLModel

from tracking.storage.sqlite.times import UtcDateTime

BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def time_column(*, nullable: bool = True) -> Any:
    """A column for an aware time in UTC."""
    return Field(default=None, sa_column=sa.Column(UtcDateTime, nullable=nullable))


def key_column() -> Any:
    """A primary key that the engine numbers."""
    return Field(default=None, sa_column=sa.Column(BigKey, primary_key=True, autoincrement=True))


def _big(default: int | None = 0) -> Any:
    return Field(default=default, sa_column=sa.Column(sa.BigInteger, nullable=default is None))


class StoredRow(SQLModel):
    """A row of any table; what would validate one is not made at a start, as nothing here is ever validated."""

    model_config = {"defer_build": True}


_UNFINISHED = sa.text("next_look_at IS NOT NULL")
_OPEN_STATES = "state NOT IN ('Completed', 'Cancelled', 'Refused')"
# In the words of its partial indexes: only then does a planner see that they fit.
OPEN = sa.text(f"orders.{_OPEN_STATES}")
_CLAIMED = f"{_OPEN_STATES} AND notice = 'claimed'"
CLAIMED = sa.text(f"orders.{_CLAIMED}")
_OF_OPEN = (
    "created_at", "id", "state", "type", "po_number", "units", "currency", "value_minor", "completed_by",
)  # fmt: skip
# All columns by which late orders are counted, and told from those in incidents, so that no row is read.
_LATENESS = ("late_at", "state", "snoozed_at", "snoozed_until", "created_at", "accepted_at", "type", "units")
# All that the lifecycle adds up, so that no order's row is read, in its groups, so that none is sorted.
_LIFECYCLE = ("state", "currency", "value_minor")
_OVER_AT_FIRST_SIGHT = "submission = 'elsewhere' AND last_open_at IS NULL"
OVER_AT_FIRST_SIGHT = sa.text("orders.submission = 'elsewhere' AND orders.last_open_at IS NULL")
"""Of an order of another system that nobody here has seen open."""
_UNAPPROVED = "approval = 'waiting'"
UNAPPROVED = sa.text(f"orders.{_UNAPPROVED}")
# Announced by a webhook, asked for by a person, or accepted and never looked at: to be polled before all others.
_URGENT = "(next_look_why = 'requested by a person' OR notice = 'claimed' OR state = 'Accepted')"
URGENT = sa.text(_URGENT)
_NEEDS_DECISION = "attention IS NOT NULL AND acknowledged_at IS NULL"
FLAGGED = sa.text(_NEEDS_DECISION)
# All that is read of many such orders, so that no order's row is.
_OF_FLAGGED = (
    "created_at", "id", "po_number", "attention_reason", "currency", "value_minor", "snoozed_at", "snoozed_until",
    "assignee",
)  # fmt: skip
# What somebody who has the order may still have to do something about.
_OF_MINE = ("assignee", "created_at", "id", "snoozed_at", "snoozed_until")
_UNSETTLED = f"({_OPEN_STATES} OR ({_NEEDS_DECISION}))"
UNSETTLED = sa.text(_UNSETTLED)
# Finished for everybody, with a log that did not leave yet: see `storage.retention`.
_FINISHED = (
    "state IN ('Completed', 'Cancelled') AND provider_id IS NOT NULL AND next_look_at IS NULL AND snoozed_at IS NULL "
    f"AND NOT ({_NEEDS_DECISION}) AND event_count > events_removed"
)
FINISHED = sa.text(_FINISHED)


class Orders(StoredRow, table=True):
    """One order. The facts of `orders.model.Order`, then what the console needs to follow it.

    `events_removed`: so many of its first events left the store, see `storage.retention`. `quiet_since` is when its
    newest event was learned, or earlier.
    """

    # On PostgreSQL the revisions make them partial as well; to name its dialect here would import it at each start.
    __table_args__ = (
        sa.Index("ix_orders_due", "next_look_at", sqlite_where=_UNFINISHED),
        sa.Index("ix_orders_urgent", "next_look_at", sqlite_where=sa.text(f"next_look_at IS NOT NULL AND {_URGENT}")),
        sa.Index("ix_orders_open", *_LATENESS, sqlite_where=sa.text(_OPEN_STATES)),
        sa.Index("ix_orders_following", "id", sqlite_where=sa.text(_OPEN_STATES)),
        sa.Index("ix_orders_flagged", *_OF_FLAGGED, sqlite_where=FLAGGED),
        sa.Index("ix_orders_created", "created_at", "id", "po_folded"),
        sa.Index("ix_orders_state", "state", "created_at"),
        sa.Index("ix_orders_type", "type", "created_at"),
        sa.Index("ix_orders_source", "source", "created_at"),
        sa.Index("ix_orders_units", "units"),
        sa.Index("ix_orders_worth", "value_minor"),
        sa.Index("ix_orders_completed", "completed_by"),
        sa.Index("ix_orders_provider_created", "provider_created_at"),
        # All that open orders are sorted by, and that their value is added up from, so that no order's row is read.
        sa.Index("ix_orders_value", *_OF_OPEN, sqlite_where=sa.text(_OPEN_STATES)),
        sa.Index("ix_orders_lifecycle", *_LIFECYCLE, sqlite_where=sa.text(_OPEN_STATES)),
        sa.Index("ix_orders_first_sight", "completed_by", sqlite_where=sa.text(_OVER_AT_FIRST_SIGHT)),
        sa.Index("ix_orders_claimed", "notice", "created_at", "id", sqlite_where=sa.text(_CLAIMED)),
        sa.Index("ix_orders_snoozed", "snoozed_at", sqlite_where=sa.text("snoozed_at IS NOT NULL")),
        sa.Index("ix_orders_assignee", "assignee", "created_at", sqlite_where=sa.text("assignee IS NOT NULL")),
        sa.Index("ix_orders_mine", *_OF_MINE, sqlite_where=sa.text(f"assignee IS NOT NULL AND {_UNSETTLED}")),
        sa.Index("ix_orders_approval", "created_at", sqlite_where=sa.text(_UNAPPROVED)),
        sa.Index("ix_orders_finished", "quiet_since", "id", sqlite_where=sa.text(_FINISHED)),
    )

    id: int | None = key_column()
    po_number: str = Field(unique=True)
    type: str
    source: str
    created_at: datetime = time_column(nullable=False)
    state: str
    submission: str
    notice: str
    provider_id: str | None = Field(default=None, unique=True)
    provider_status: str | None = None
    units: int = _big()
    units_fulfilled: int = _big()
    value_minor: int = _big()
    cost_minor: int | None = _big(None)
    currency: str | None = None
    note: str | None = None
    actor: str | None = None
    provider_created_at: datetime | None = time_column()
    accepted_at: datetime | None = time_column()
    last_open_at: datetime | None = time_column()
    completed_after: datetime | None = time_column()
    completed_by: datetime | None = time_column()
    completed_there_at: datetime | None = time_column()
    claimed_at: datetime | None = time_column()
    attention: str | None = None
    attention_reason: str | None = None
    acknowledged_at: datetime | None = time_column()
    acknowledged_by: str | None = None
    acknowledged_why: str | None = None
    erased: str | None = None
    assignee: str | None = None
    snoozed_at: datetime | None = time_column()
    snoozed_until: datetime | None = time_column()
    approval: str | None = None

    # The ids as they are compared: not unique, as two orders' PONumbers may differ in case alone.
    po_folded: str | None = Field(default=None, index=True)
    provider_folded: str | None = Field(default=None, index=True)
    batch_id: int | None = Field(default=None, index=True)
    line_count: int = 0
    event_count: int = 0
    head: str | None = None
    events_removed: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    quiet_since: datetime | None = time_column()
    looks: int = 0
    failures: int = 0
    last_look_at: datetime | None = time_column()
    next_look_at: datetime | None = time_column()
    next_look_why: str | None = None
    lease_until: datetime | None = time_column()
    lease_owner: str | None = None
    webhook_look_at: datetime | None = time_column()
    late_at: datetime | None = time_column()
    digest: str | None = None
    document: dict[str, Any] | None = Field(default=None, sa_column=sa.Column(sa.JSON))


class Lines(StoredRow, table=True):
    """One line item of an order. Claim data is kept apart and encrypted; here is how many units showed it.

    `recipient_hash` is keyed with `recipient_salt`; without the salt, which erasing a person deletes, it tells nothing.
    `recipient_key` is what the search looks through: the line's people and addresses as they compare.
    """

    __table_args__ = (sa.Index("ix_lines_product", "product_id", "order_id"),)

    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    product_id: str
    value_minor: int = _big()
    quantity: int = _big()
    status: str
    claims: int = 0
    provider_line_id: str | None = None
    external_id: str | None = Field(default=None, index=True)
    recipient: str | None = Field(default=None, index=True)
    recipient_salt: str | None = None
    recipient_hash: str | None = None
    recipient_key: str | None = None
    cost_minor: int | None = _big(None)
    claim_digest: str | None = None


class Events(StoredRow, table=True):
    """One entry of an order's log: append-only, `seq` counts from 1 without a gap in each order.

    `previous` is the hash of the entry before; that of the newest entry is the order's `head`.
    """

    __table_args__ = (
        sa.UniqueConstraint("order_id", "seq"),
        sa.Index("ix_events_learned", "learned_at"),
        sa.Index("ix_events_kind", "kind", "learned_at"),
    )

    id: int | None = key_column()
    order_id: int = Field(sa_column=sa.Column(BigKey, nullable=False))
    seq: int
    kind: str
    witness: str
    happened_at: datetime = time_column(nullable=False)
    learned_at: datetime = time_column(nullable=False)
    changes: dict[str, Any] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
    line_changes: list[dict[str, Any]] = Field(default_factory=list, sa_column=sa.Column(sa.JSON, nullable=False))
    detail: dict[str, Any] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
    previous: str | None = None


class Claims(StoredRow, table=True):
    """A line's claim data, encrypted: what it showed first and, where that changed, each later version."""

    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    digest: str = Field(primary_key=True)
    units: int
    sealed: str
    learned_at: datetime = time_column(nullable=False)


class Outbox(StoredRow, table=True):
    """What is to be sent: one row for each order, committed before the first byte leaves.

    What is `held` waits for a second person's approval, and is not leased.
    """

    __table_args__ = (sa.Index("ix_outbox_due", "done", "held", "next_attempt_at"),)

    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    request: dict[str, Any] = Field(sa_column=sa.Column(sa.JSON, nullable=False))
    done: bool = False
    held: bool = False
    attempts: int = 0
    next_attempt_at: datetime = time_column(nullable=False)
    lease_until: datetime | None = time_column()
    lease_owner: str | None = None
    last_error: str | None = None


_REPEATED = "repeats > 0"
REPEATED = sa.text(f"callbacks.{_REPEATED}")
_WAITS = "outcome = 'waiting'"
WAITS_FOR_ORDER = sa.text(f"callbacks.{_WAITS}")


class Callbacks(StoredRow, table=True):
    """One callback as received: accepted, waiting for its order, or refused. Repeats only count up.

    Of a refused one `po_number` and `provider_id` are no more than what it named, and `rule` is why.
    """

    __table_args__ = (
        sa.Index("ix_callbacks_outcome", "outcome", "id"),
        sa.Index("ix_callbacks_received", "received_at", "id", "outcome"),  # all that their volume is counted by
        sa.Index("ix_callbacks_waiting", "po_number", sqlite_where=sa.text(_WAITS)),
        sa.Index("ix_callbacks_repeated", "received_at", sqlite_where=sa.text(_REPEATED)),
    )

    id: int | None = key_column()
    digest: str | None = Field(default=None, unique=True)
    received_at: datetime = time_column(nullable=False)
    last_at: datetime = time_column(nullable=False)
    outcome: str
    reason: str | None = None
    repeats: int = 0
    action: str | None = None
    po_number: str | None = None
    provider_id: str | None = None
    stated_at: datetime | None = time_column()
    order_id: int | None = Field(default=None, sa_column=sa.Column(BigKey, index=True))
    method: str = "POST"
    size: int = 0
    source: str | None = None
    rule: str | None = None


class Addresses(StoredRow, table=True):
    """Which order a webhook address is for. `digest` is the hash of the address's token, which is stored nowhere."""

    digest: str = Field(primary_key=True)
    order_id: int = Field(sa_column=sa.Column(BigKey, nullable=False, index=True))


class Exchanges(StoredRow, table=True):
    """One call of the provider's API: what was asked, what came, how long it took. Bodies are masked and cut.

    `unchanged`: it asked for an order, and was answered as the call before for the same one.
    """

    __table_args__ = (
        sa.Index("ix_exchanges_at", "at"),
        sa.Index("ix_exchanges_order", "order_id", "at"),
        sa.Index("ix_exchanges_unchanged", "order_id", "id", sqlite_where=sa.text("unchanged")),
    )

    id: int | None = key_column()
    at: datetime = time_column(nullable=False)
    method: str
    path: str
    status: int | None = None
    milliseconds: int = 0
    outcome: str
    order_id: int | None = Field(default=None, sa_column=sa.Column(BigKey))
    request: str | None = None
    answer: str | None = None
    unchanged: bool = False


class Predictions(StoredRow, table=True):
    """By when nine in ten orders like one finish, predicted when it came.

    `orders`: how many finished orders of its class that rested on. Earlier versions also filled `half_by`, and a later
    `step` each time the order's age had doubled.
    """

    __table_args__ = (
        sa.Index("ix_predictions_half_by", "half_by"),
        sa.Index("ix_predictions_nine_in_ten_by", "nine_in_ten_by"),
    )

    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    step: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    made_at: datetime = time_column(nullable=False)
    orders: int = 0
    half_by: datetime | None = time_column()
    nine_in_ten_by: datetime | None = time_column()


class Batches(StoredRow, table=True):
    """One file handed in; its digest tells when the same file comes again."""

    id: int | None = key_column()
    digest: str = Field(index=True)
    name: str
    rows: int
    orders: int
    created_at: datetime = time_column(nullable=False)
    actor: str | None = None


class Drafts(StoredRow, table=True):
    """An order that somebody puts together on the form, so that it outlives the process; a few days at the most.

    `owner` is a hash of who is signed in, or of the browser's cookie.
    """

    owner: str = Field(primary_key=True)
    saved_at: datetime = time_column(nullable=False)
    content: dict[str, Any] = Field(sa_column=sa.Column(sa.JSON, nullable=False))


class Counters(StoredRow, table=True):
    """A running count, changed in the transaction of what it counts.

    `stock`: orders created in `hour` that are in `state` now. `flow`: orders that entered `state` in `hour`, by when we
    learned it; `left`: those that left it. `decisions`: orders that began ("needed") or ceased ("settled") to need a
    decision in `hour`. `late` is a sample and no count: how many were late when last looked at within `hour`.
    """

    name: str = Field(primary_key=True)
    hour: datetime = Field(sa_column=sa.Column(UtcDateTime, primary_key=True))
    state: str = Field(primary_key=True)
    orders: int = _big()
    units: int = _big()
    value_minor: int = _big()


class Facts(StoredRow, table=True):
    """A small thing to remember: heartbeats, the catalog, the balance, how far discovery came."""

    key: str = Field(primary_key=True)
    at: datetime = time_column(nullable=False)
    value: dict[str, Any] = Field(sa_column=sa.Column(sa.JSON, nullable=False))


# The Core tables behind the models, for statements on hot paths.
_tables = SQLModel.metadata.tables.__getitem__
ORDERS, LINES, EVENTS, CLAIMS, OUTBOX = map(_tables, ("orders", "lines", "events", "claims", "outbox"))
CALLBACKS, EXCHANGES, PREDICTIONS = map(_tables, ("callbacks", "exchanges", "predictions"))
ADDRESSES = _tables("addresses")
BATCHES, COUNTERS, DRAFTS, FACTS = map(_tables, ("batches", "counters", "drafts", "facts"))


def insert_for(dialect: str, model: Any) -> Any:
    """An INSERT of this dialect: "sqlite" or "postgresql"."""
    if dialect == "sqlite":
        return sqlite.insert(model)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - only its own store needs it, and a start is waited for

    return postgresql.insert(model)
