"""SQLite database of the simulated provider: stores orders, balance, keys and webhook deliveries in one file.

Owns every statement and every transaction; decides nothing about contents or times. One connection behind one lock,
so it may be called from any thread. Commits survive the end of the process; they are not fsynced one by one, since this
is a simulator.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tracking.sandbox.order_lifecycle import Lifecycle, LineLifecycle, ScheduledWebhook, Step
from tracking.sandbox.order_validation import ValidOrder

OPENING_BALANCE_CENTS = 1_000_000_000
Source = Literal["api", "elsewhere"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (
    po_number TEXT PRIMARY KEY, count INTEGER NOT NULL, refused INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, po_number TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    header TEXT NOT NULL, digest TEXT NOT NULL, source TEXT NOT NULL, units INTEGER NOT NULL,
    cost_cents INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL, steps TEXT NOT NULL,
    claim_data TEXT NOT NULL, claims_at REAL, rotates INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS orders_created ON orders (created_at, number);
CREATE INDEX IF NOT EXISTS orders_completed ON orders (completed_at);
CREATE TABLE IF NOT EXISTS lines (
    order_number INTEGER NOT NULL REFERENCES orders (number), position INTEGER NOT NULL, product_id TEXT NOT NULL,
    quantity INTEGER NOT NULL, cost_cents INTEGER NOT NULL, name TEXT, email TEXT, sms TEXT, item TEXT NOT NULL,
    fulfilled_at REAL, moved_at REAL, PRIMARY KEY (order_number, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL, due_at REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, outcome TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE outcome IS NULL;
"""


@dataclass(frozen=True)
class SandboxLine:
    """A stored line: what was ordered, what it costs, and its lifecycle."""

    order_number: int
    position: int
    quantity: int
    cost_cents: int
    item: Mapping[str, Any]
    lifecycle: LineLifecycle

    @property
    def id(self) -> str:
        """The id in the API."""
        return f"LI-{self.order_number}-{self.position + 1}"


@dataclass(frozen=True)
class SandboxOrder:
    """A stored order without its lines."""

    number: int
    po_number: str
    kind: str
    header: Mapping[str, Any]
    digest: str
    source: str
    units: int
    created_at: float
    completed_at: float | None
    steps: tuple[Step, ...]
    claim_data: str
    claims_at: float | None
    rotates: bool

    @property
    def id(self) -> str:
        """The id in the API."""
        return order_id(self.number)


@dataclass(frozen=True)
class BalanceTooLow:
    """An order refused for lack of balance; nothing was placed."""

    available_cents: int


@dataclass(frozen=True)
class WebhookDelivery:
    """A webhook that waits to be sent."""

    id: int
    url: str
    body: str
    due_at: float
    tries: int


@dataclass(frozen=True)
class Placement:
    """An order to insert, with its lifecycle and its webhooks."""

    order: ValidOrder
    lifecycle: Lifecycle
    source: Source
    created_at: float
    claim_data: str = "full"
    rotates: bool = False
    webhooks: Sequence[ScheduledWebhook] = ()


def order_id(number: int) -> str:
    """Format an order's number as its id: BLK- and nine digits."""
    return f"BLK-{number:09d}"


def order_number(text: str) -> int:
    """Parse the number in an order's id, in whatever case; 0, which no order has, where the text is no id."""
    text = text.upper()
    digits = text.removeprefix("BLK-")
    valid = text.startswith("BLK-") and digits.isascii() and digits.isdigit() and len(digits) == 9
    return int(digits) if valid else 0


class SandboxDatabase:
    """Opens the file, created where missing; `close` when done. Raises OSError for one that cannot be used."""

    def __init__(self, path: Path) -> None:
        if str(path) != ":memory:":
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.touch(mode=0o600, exist_ok=False)
        self._lock = threading.RLock()
        with contextlib.ExitStack() as stack:
            try:
                opened = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5)
                stack.enter_context(contextlib.closing(opened))
                opened.row_factory = sqlite3.Row
                opened.execute("PRAGMA journal_mode = WAL")
                opened.execute("PRAGMA synchronous = NORMAL")
                opened.executescript(_SCHEMA)
            except sqlite3.Error as exc:
                raise OSError(str(exc)) from exc
            stack.pop_all()  # it stays open, as it can be used
        self._connection = opened

    def close(self) -> None:
        """Close the file; everything is already in it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing; entered again by the same thread it is part of the outer transaction."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, statement: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(statement, tuple(parameters)).fetchall()

    def _integer(self, statement: str, parameters: Iterable[Any] = ()) -> int:
        return int(self._rows(statement, parameters)[0][0] or 0)

    def fact(self, name: str, default: str) -> str:
        """Read a stored fact; the first time it is set to the default, which then stays."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, default))
            return str(self._rows("SELECT value FROM facts WHERE name = ?", [name])[0][0])

    def key(self) -> bytes:
        """Read the sandbox's own random key."""
        return bytes.fromhex(self.fact("key", secrets.token_hex(32)))

    def balance_cents(self) -> int:
        """Read the account's balance."""
        return int(self.fact("balance_cents", str(OPENING_BALANCE_CENTS)))

    def set_balance(self, cents: int) -> None:
        """Set the account's balance."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('balance_cents', ?)", (str(cents),))

    def reserve_serials(self, count: int) -> int:
        """Reserve numbers for the PONumbers of other systems; returns the first of them."""
        with self.transaction() as connection:
            used = int(self.fact("serials", "0"))
            connection.execute("UPDATE facts SET value = ? WHERE name = 'serials'", (str(used + count),))
            return used + 1

    def pending_cents(self, now: float) -> int:
        """Sum the costs of the orders that are not completed yet."""
        return self._integer("SELECT SUM(cost_cents) FROM orders WHERE completed_at > ? AND source = 'api'", [now])

    def count_post(self, po_number: str) -> int:
        """Count one more POST of a PONumber; returns how many there are now."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO posts VALUES (?, 1, 0) ON CONFLICT DO UPDATE SET count = count + 1", (po_number,)
            )
            return self._integer("SELECT count FROM posts WHERE po_number = ?", [po_number])

    def record_refusal(self, po_number: str) -> None:
        """Record that this PONumber got a 422."""
        with self.transaction() as connection:
            connection.execute("UPDATE posts SET refused = 1 WHERE po_number = ?", (po_number,))

    def was_refused(self, po_number: str) -> bool:
        """Check whether this PONumber ever got a 422."""
        return bool(self._rows("SELECT 1 FROM posts WHERE po_number = ? AND refused", [po_number]))

    def place(self, placement: Placement, *, debit: bool) -> SandboxOrder | BalanceTooLow:
        """Debit and insert in one transaction. The caller has made sure that the PONumber is free."""
        order = placement.order
        with self.transaction():
            if debit:
                balance = self.balance_cents() - order.cost_cents
                if balance < 0:
                    return BalanceTooLow(balance + order.cost_cents)
                self.set_balance(balance)
            number = self._insert(placement)
            self._insert_webhooks(placement, number)
            return self._select_orders("number = ?", [number])[0]

    def insert_history(self, placements: Iterable[Placement]) -> None:
        """Insert many orders at once; no balance is touched."""
        with self.transaction():
            for placement in placements:
                self._insert(placement)

    def _insert(self, placement: Placement) -> int:
        order, lifecycle = placement.order, placement.lifecycle
        with self.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO orders (po_number, type, header, digest, source, units, cost_cents, created_at,"
                " completed_at, steps, claim_data, claims_at, rotates) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    order.po_number,
                    order.kind,
                    _compact_json(order.header),
                    order.digest,
                    placement.source,
                    order.units,
                    order.cost_cents,
                    placement.created_at,
                    lifecycle.completed_at,
                    _compact_json(lifecycle.steps),
                    placement.claim_data,
                    lifecycle.claims_at,
                    placement.rotates,
                ),
            )
            number = int(cursor.lastrowid or 0)
            parts = zip(order.items, order.costs, lifecycle.lines, strict=True)
            connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((number, index, *_line_columns(*part)) for index, part in enumerate(parts)),
            )
        return number

    def _insert_webhooks(self, placement: Placement, number: int) -> None:
        url = placement.order.webhook_url
        if url is None:
            return
        with self.transaction() as connection:
            for webhook in placement.webhooks:
                body = _compact_json(webhook.body(order_id(number), placement.order.po_number))
                connection.execute(
                    "INSERT INTO deliveries (url, body, due_at) VALUES (?, ?, ?)", (url, body, webhook.due_at)
                )

    def order(self, number: int) -> SandboxOrder | None:
        """Find one order by its number."""
        return next(iter(self._select_orders("number = ?", [number])), None)

    def order_by_po_number(self, po_number: str) -> SandboxOrder | None:
        """Find one order by its PONumber."""
        return next(iter(self._select_orders("po_number = ?", [po_number])), None)

    def find_orders(
        self, conditions: Sequence[tuple[str, Any]], order_by: str, limit: int, offset: int
    ) -> list[SandboxOrder]:
        """Select a page of the orders that meet every condition (SQL text with one parameter each)."""
        where, parameters = _where_clause(conditions)
        return self._select_orders(f"{where} ORDER BY {order_by} LIMIT ? OFFSET ?", [*parameters, limit, offset])

    def count_orders(self, conditions: Sequence[tuple[str, Any]] = ()) -> int:
        """Count the orders that meet every condition."""
        where, parameters = _where_clause(conditions)
        return self._integer(f"SELECT COUNT(*) FROM orders WHERE {where}", parameters)  # noqa: S608 - our own text  # nosec B608

    def _select_orders(self, where: str, parameters: Iterable[Any]) -> list[SandboxOrder]:
        rows = self._rows(f"SELECT * FROM orders WHERE {where}", parameters)  # noqa: S608 - our own text  # nosec B608
        return [_order_from_row(row) for row in rows]

    def lines(self, numbers: Sequence[int]) -> dict[int, list[SandboxLine]]:
        """Select the lines of some orders, by the order's number and in the order of the request."""
        lines: dict[int, list[SandboxLine]] = {number: [] for number in numbers}
        statement = (
            "SELECT order_number, position, quantity, cost_cents, item, fulfilled_at, moved_at FROM lines"
            " WHERE order_number IN (SELECT value FROM json_each(?)) ORDER BY order_number, position"
        )
        for number, position, quantity, cents, item, fulfilled_at, moved_at in self._rows(
            statement, [_compact_json(numbers)]
        ):
            lifecycle = LineLifecycle(fulfilled_at, moved_at)
            lines[number].append(SandboxLine(number, position, quantity, cents, json.loads(item), lifecycle))
        return lines

    def line_count(self, number: int) -> int:
        """Count the lines of an order."""
        return self._integer("SELECT COUNT(*) FROM lines WHERE order_number = ?", [number])

    def posts(self) -> dict[str, int]:
        """Count the POSTs of each PONumber."""
        return {row[0]: row[1] for row in self._rows("SELECT po_number, count FROM posts")}

    def due_deliveries(self, now: float, limit: int) -> list[WebhookDelivery]:
        """Select the webhooks to be sent now, the longest due first."""
        rows = self._rows(
            "SELECT id, url, body, due_at, tries FROM deliveries WHERE outcome IS NULL AND due_at <= ?"
            " ORDER BY due_at LIMIT ?",
            [now, limit],
        )
        return [WebhookDelivery(*row) for row in rows]

    def record_delivery(self, delivery_id: int, *, outcome: str | None, due_at: float) -> None:
        """Record one try: an outcome ends the delivery, none leaves it due again."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET tries = tries + 1, outcome = ?, due_at = ? WHERE id = ?",
                (outcome, due_at, delivery_id),
            )


def _compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=float)


def _where_clause(conditions: Sequence[tuple[str, Any]]) -> tuple[str, list[Any]]:
    return " AND ".join(text for text, _ in conditions) or "TRUE", [parameter for _, parameter in conditions]


def _line_columns(item: Mapping[str, Any], cost_cents: int, lifecycle: LineLifecycle) -> tuple[Any, ...]:
    digital: Mapping[str, Any] = item.get("DigitalDeliveryAddress") or {}
    physical: Mapping[str, Any] = item.get("PhysicalDeliveryAddress") or {}
    personalization: Mapping[str, Any] = item.get("Personalization") or {}
    name = physical.get("Name") or personalization.get("To")
    return (
        item["ProductId"],
        item["Quantity"],
        cost_cents,
        name,
        digital.get("Email"),
        digital.get("Sms"),
        _compact_json(item),
        lifecycle.fulfilled_at,
        lifecycle.moved_at,
    )


def _order_from_row(row: sqlite3.Row) -> SandboxOrder:
    return SandboxOrder(
        number=row["number"],
        po_number=row["po_number"],
        kind=row["type"],
        header=json.loads(row["header"]),
        digest=row["digest"],
        source=row["source"],
        units=row["units"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        steps=tuple((at, status) for at, status in json.loads(row["steps"])),
        claim_data=row["claim_data"],
        claims_at=row["claims_at"],
        rotates=bool(row["rotates"]),
    )
