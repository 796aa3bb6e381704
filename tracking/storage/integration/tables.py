"""Tables of what other systems get and ask. No logic, as in `storage.tables`.

`from __future__ import annotations` must not stand here: SQLModel reads the annotations while the classes are made.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tracking.storage.sqlite.times import UtcDateTime
from tracking.storage.tables import BigKey, StoredRow, key_column, time_column

_WAITING = "state = 'waiting'"
WAITING = sa.text(f"deliveries.{_WAITING}")
_LEASED = "lease_owner IS NOT NULL"
_OPEN_ALERT = "ended_at IS NULL"
OPEN_ALERT = sa.text(f"alerts.{_OPEN_ALERT}")
_UNSENT_ALERT = "next_attempt_at IS NOT NULL"
UNSENT_ALERT = sa.text(f"alerts.{_UNSENT_ALERT}")


def _document() -> Any:
    return Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))


def _list() -> Any:
    return Field(default_factory=list, sa_column=sa.Column(sa.JSON, nullable=False))


def _order_id(*, nullable: bool = False) -> Any:
    return Field(default=None, sa_column=sa.Column(sa.BigInteger, nullable=nullable))


class Subscriptions(StoredRow, table=True):
    """Who is notified of events of orders: an address of another system, and which events it gets.

    `url` is what may be shown of the address, scheme and host, and "/#encrypted"; `sealed_url` is all of it, encrypted,
    as its path and query may hold a token. Before it was encrypted `sealed_url` is none, and `url` is all of it.
    `receives_from`: it is notified of all that is learned from then on; none until every transaction is over that may
    not know of it.

    `event_types` are those of `event_types`, empty for all. `po_prefix`, `order_type` and `source` narrow the orders.
    `secrets` are encrypted, newest first, each with the time until which it also signs (none: for ever). `state` is
    active, paused (by a person), switched off (after three days of failures, `state_why`) or removed; what waits stays,
    but of a removed one. `failing_since` is when the first of the failures was that no success followed, `failures` how
    many there were, `failed_at` the newest; until `retry_at` nothing is tried, and after it one delivery at a time.
    """

    id: int | None = key_column()
    name: str = Field(unique=True)
    url: str
    sealed_url: str | None = None
    event_types: list[str] = _list()
    po_prefix: str | None = None
    order_type: str | None = None
    source: str | None = None
    secrets: list[dict[str, Any]] = _list()
    state: str = "active"
    state_at: datetime = time_column(nullable=False)
    state_by: str
    state_why: str | None = None
    failing_since: datetime | None = time_column()
    failures: int = 0
    failed_at: datetime | None = time_column()
    retry_at: datetime | None = time_column()
    succeeded_at: datetime | None = time_column()
    created_at: datetime = time_column(nullable=False)
    created_by: str
    receives_from: datetime | None = time_column()


class Deliveries(StoredRow, table=True):
    """One notification of one subscription, written in the transaction of the event that it tells of.

    `message_id` is what the receiver knows it by, the same however often it is sent. `seq` is the event in the order's
    log; of a lateness, which is no event, the newest by then. `payload` is the body as it was first sent: made then, as
    of the event, and nothing before. `state` is waiting, delivered, skipped (by a person, `settled_by`, with a reason,
    `settled_why`), or dropped (the subscription was removed, or it waited for too long). `asked_by` is who had it sent
    again.
    """

    __table_args__ = (
        sa.UniqueConstraint("subscription_id", "message_id"),
        # Delivered in order: of an order's waiting deliveries only the first is due.
        sa.Index("ix_deliveries_order", "subscription_id", "order_id", "seq", "id", sqlite_where=sa.text(_WAITING)),
        sa.Index("ix_deliveries_due", "subscription_id", "next_attempt_at", "id", sqlite_where=sa.text(_WAITING)),
        sa.Index("ix_deliveries_waiting", "created_at", sqlite_where=sa.text(_WAITING)),
        sa.Index("ix_deliveries_leased", "lease_owner", sqlite_where=sa.text(_LEASED)),
        sa.Index("ix_deliveries_listed", "subscription_id", "state", "id"),
        sa.Index("ix_deliveries_of_order", "order_id", "id"),
    )

    id: int | None = key_column()
    subscription_id: int = Field(sa_column=sa.Column(BigKey, nullable=False))
    message_id: str
    event_type: str
    order_id: int = _order_id()
    seq: int
    created_at: datetime = time_column(nullable=False)
    payload: str | None = None
    state: str = "waiting"
    attempts: int = 0
    next_attempt_at: datetime = time_column(nullable=False)
    lease_until: datetime | None = time_column()
    lease_owner: str | None = None
    asked_by: str | None = None
    settled_at: datetime | None = time_column()
    settled_by: str | None = None
    settled_why: str | None = None
    last_status: int | None = None
    last_error: str | None = None


class DeliveryAttempts(StoredRow, table=True):
    """One attempt to deliver: what was answered, in how many milliseconds. Of the answer no more than its beginning."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (sa.Index("ix_delivery_attempts_at", "at"),)

    delivery_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    at: datetime = time_column(nullable=False)
    status: int | None = None
    milliseconds: int = 0
    answer: str | None = None
    error: str | None = None
    by: str | None = None


class Alerts(StoredRow, table=True):
    """One trouble from its begin to its end: `rule` says which kind, `subject` what of (a PO number, a name, "").

    There is one at a time for each rule and subject. `detail` is what its message is made of, brought up to date while
    it lasts: no name of a person, token or claim data. `clear_since`: since when it is not there any more, before that
    counts as its end. `sent_at` and `end_sent_at`: when the first service took the message of its begin and of its end,
    `sent_to` and `end_sent_to`: which services did. `attempts` are those of the message that is due;
    `next_attempt_at`: when it is tried (again), none where nothing is to be sent.
    """

    __table_args__ = (
        sa.Index("ix_alerts_open", "rule", "subject", unique=True, sqlite_where=sa.text(_OPEN_ALERT)),
        sa.Index("ix_alerts_unsent", "next_attempt_at", sqlite_where=sa.text(_UNSENT_ALERT)),
        sa.Index("ix_alerts_began", "began_at"),
    )

    id: int | None = key_column()
    rule: str
    subject: str = ""
    detail: dict[str, Any] = _document()
    began_at: datetime = time_column(nullable=False)
    updated_at: datetime = time_column(nullable=False)
    clear_since: datetime | None = time_column()
    ended_at: datetime | None = time_column()
    sent_at: datetime | None = time_column()
    sent_to: list[str] = _list()
    end_sent_at: datetime | None = time_column()
    end_sent_to: list[str] = _list()
    attempts: int = 0
    next_attempt_at: datetime | None = time_column()
    last_error: str | None = None


class ApiTokens(StoredRow, table=True):
    """A token of the API: its SHA-256 and never itself, which is 256 bits by chance. `access` is viewer or operator.

    From `expires_at` on it does not count any more; none: it never expires.
    """

    __tablename__ = "api_tokens"

    id: int | None = key_column()
    name: str = Field(unique=True)
    digest: str = Field(unique=True)
    access: str
    created_at: datetime = time_column(nullable=False)
    created_by: str
    expires_at: datetime | None = time_column()
    revoked_at: datetime | None = time_column()
    revoked_by: str | None = None
    last_used_at: datetime | None = time_column()
    reads: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False))
    acts: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False))


class ApiRequests(StoredRow, table=True):
    """An act by the API under an Idempotency-Key: `digest` is of what was asked, `answer` is given again for a day."""

    __tablename__ = "api_requests"
    __table_args__ = (sa.Index("ix_api_requests_at", "at"),)

    token_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    key: str = Field(primary_key=True)
    digest: str
    at: datetime = time_column(nullable=False)
    status: int
    answer: dict[str, Any] = _document()


class ApiUse(StoredRow, table=True):
    """How often a token read `what` within an hour; once that is over it becomes one entry of the audit log."""

    __tablename__ = "api_use"

    hour: datetime = Field(sa_column=sa.Column(UtcDateTime, primary_key=True))
    token_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    what: str = Field(primary_key=True)
    times: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False))


_tables = SQLModel.metadata.tables.__getitem__
SUBSCRIPTIONS, DELIVERIES, DELIVERY_ATTEMPTS = map(_tables, ("subscriptions", "deliveries", "delivery_attempts"))
ALERTS = _tables("alerts")
API_TOKENS, API_REQUESTS, API_USE = map(_tables, ("api_tokens", "api_requests", "api_use"))
