"""Tables of a team's work. No logic, as in `storage.tables`; nothing here is part of an order's log.

`from __future__ import annotations` must not stand here: SQLModel reads the annotations while the classes are made.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tracking.storage.tables import BigKey, StoredRow, key_column, time_column


def _document() -> Any:
    return Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))


class AuditLog(StoredRow, table=True):
    """One entry of the audit log of people: who did what, when. Append-only; `seq` counts from 1 without a gap.

    `previous` is the hash of the entry before; that of the newest is kept with its `seq` as a fact. `signed_in` tells
    whether a sign-in proves the name, or somebody gave it.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        sa.Index("ix_audit_log_at", "at"),
        sa.Index("ix_audit_log_person", "person", "seq"),
        sa.Index("ix_audit_log_kind", "kind", "seq"),
        sa.Index("ix_audit_log_person_kind", "person", "kind", "seq"),
        sa.Index("ix_audit_log_order", "order_id", "seq"),
    )

    seq: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    at: datetime = time_column(nullable=False)
    person: str
    signed_in: bool = False
    kind: str
    order_id: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger))
    job_id: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger))
    detail: dict[str, Any] = _document()
    previous: str


class Jobs(StoredRow, table=True):
    """An act on many orders, or the import of a file, done in steps by a worker that holds the lease.

    `key` comes from whoever asked for it, so that asking twice makes one. It acts in the name of `person`: whoever
    started it, of an import whoever last had it go on. `state` is running, stopped or finished.
    `parameters` are those of the act; `filter` is what chose the orders, with a hash for what somebody typed.
    `skipped_why` counts the skipped by reason.
    """

    __table_args__ = (sa.Index("ix_jobs_state", "state", "id"),)

    id: int | None = key_column()
    key: str = Field(unique=True)
    act: str
    parameters: dict[str, Any] = _document()
    filter: dict[str, Any] = _document()
    person: str
    signed_in: bool = False
    created_at: datetime = time_column(nullable=False)
    state: str = "running"
    total: int = 0
    done: int = 0
    skipped: int = 0
    skipped_why: dict[str, Any] = _document()
    next_turn_at: datetime | None = time_column()
    changed_at: datetime | None = time_column()
    changed_by: str | None = None
    finished_at: datetime | None = time_column()
    lease_until: datetime | None = time_column()
    lease_owner: str | None = None


class JobOrders(StoredRow, table=True):
    """One order of a job: `outcome` is waiting, done or skipped, and `why` it was skipped."""

    __tablename__ = "job_orders"
    __table_args__ = (sa.Index("ix_job_orders_outcome", "job_id", "outcome", "order_id"),)

    job_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    outcome: str = "waiting"
    why: str | None = None
    at: datetime | None = time_column()


class ImportRows(StoredRow, table=True):
    """One order of a file, from when the file is handed in.

    `outcome` is waiting, queued, exists, rejected or discarded. `first_row` and `last_row` are its rows in the file;
    `lines` holds [row, product, minor units, quantity, reference] of each line, for the file of outcomes. `request` is
    the order in the provider's shape while it waits, and gone once it is settled: the order has its own.
    `po_folded` is the PONumber as PONumbers are compared.
    """

    __tablename__ = "import_rows"
    __table_args__ = (
        sa.Index("ix_import_rows_outcome", "batch_id", "outcome", "number"),
        sa.Index("ix_import_rows_order", "order_id"),
        sa.Index("ix_import_rows_waiting", "po_folded", sqlite_where=sa.text("outcome = 'waiting'")),
    )

    batch_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    first_row: int | None = None
    last_row: int | None = None
    po_number: str
    po_folded: str
    outcome: str = "waiting"
    message: str | None = None
    order_id: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger))
    lines: list[Any] = Field(default_factory=list, sa_column=sa.Column(sa.JSON, nullable=False))
    request: dict[str, Any] | None = Field(default=None, sa_column=sa.Column(sa.JSON(none_as_null=True)))


class SavedViews(StoredRow, table=True):
    """A filter of the list of orders under a name; `owner` is whose it is, empty where all share it."""

    __tablename__ = "saved_views"
    __table_args__ = (sa.UniqueConstraint("owner", "name"),)

    id: int | None = key_column()
    owner: str
    name: str
    query: dict[str, Any] = _document()
    created_by: str
    created_at: datetime = time_column(nullable=False)


class ContractSightings(StoredRow, table=True):
    """Something the provider was seen to use: a field, a word, a type, a status code; when first and last, how often.

    `place` is where in the endpoint's JSON, `example` the shape of one value. What it stands in had come `above_times`
    when this came last. `read_as` is the change that a person marked as read: new or gone.
    """

    __tablename__ = "contract_sightings"
    __table_args__ = (sa.UniqueConstraint("endpoint", "kind", "place", "value"),)

    id: int | None = key_column()
    endpoint: str
    kind: str
    place: str
    value: str
    first_at: datetime = time_column(nullable=False)
    last_at: datetime = time_column(nullable=False)
    times: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False))
    example: str | None = None
    above_times: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False))
    read_as: str | None = None


class Drills(StoredRow, table=True):
    """One fire drill: which scenario, whose, and when the team did what (`times` by name, ISO 8601 in UTC).

    `unnamed`: the team is not told which it is while it runs. `orders` are the PONumbers of the orders it is about.
    """

    id: int | None = key_column()
    scenario: str
    started_by: str
    started_at: datetime = time_column(nullable=False)
    ended_at: datetime | None = time_column()
    unnamed: bool = False
    orders: list[str] = Field(default_factory=list, sa_column=sa.Column(sa.JSON, nullable=False))
    times: dict[str, Any] = _document()


_tables = SQLModel.metadata.tables.__getitem__
AUDIT_LOG, JOBS, JOB_ORDERS, IMPORT_ROWS = map(_tables, ("audit_log", "jobs", "job_orders", "import_rows"))
SAVED_VIEWS, SIGHTINGS, DRILLS = map(_tables, ("saved_views", "contract_sightings", "drills"))


def import_key(batch_id: int | str) -> str:
    """The key of the job that places a file's orders."""
    return f"import {batch_id}"
