"""The simulated provider's memory: one SQLite file with orders, balance, keys and webhook deliveries.

Owns every statement and every transaction; decides nothing about contents or times. One connection behind one lock,
so it may be called from any thread. Commits survive the end of the process; they are not fsynced one by one, since this
is a simulator.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tracking.sandbox.order_lifecycle import Announcement, Course, LineCourse, Step
from tracking.sandbox.order_validation import Intake

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
class Line:
    """A stored line: what was ordered, what it costs, and its course."""

    order_number: int
    position: int
    quantity: int
    cost_cents: int
    item: Mapping[str, Any]
    course: LineCourse

    @property
    def id(self) -> str:
        """The id the API shows."""
        return f"LI-{self.order_number}-{self.position + 1}"


@dataclass(frozen=True)
class Order:
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
        """The id the API shows."""
        return order_id(self.number)


@dataclass(frozen=True)
class Insufficient:
    """The balance did not suffice; nothing was placed."""

    available_cents: int


@dataclass(frozen=True)
class Delivery:
    """One webhook on its way."""

    id: int
    url: str
    body: str
    due_at: float
    tries: int


@dataclass(frozen=True)
class Placement:
    """Everything one insertion needs besides the order itself."""

    intake: Intake
    course: Course
    source: Source
    created_at: float
    claim_data: str = "full"
    rotates: bool = False
    announcements: Sequence[Announcement] = ()


def order_id(number: int) -> str:
    """BLK- and nine digits."""
    return f"BLK-{number:09d}"


def order_number(text: str) -> int:
    """The number within an order's id; 0, which no order has, where it is none."""
    digits = text.removeprefix("BLK-")
    sound = text.startswith("BLK-") and digits.isascii() and digits.isdigit() and len(digits) == 9
    return int(digits) if sound else 0


class Ledger:
    """The file. Opened at construction, created where missing; `close` when done."""

    def __init__(self, path: Path) -> None:
        if str(path) != ":memory:":
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file. Everything is already in it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; entered again by the same thread it is part of the outer one."""
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

    def _number(self, statement: str, parameters: Iterable[Any] = ()) -> int:
        return int(self._rows(statement, parameters)[0][0] or 0)

    def fact(self, name: str, otherwise: str) -> str:
        """A stored fact; the first time, what is given, which then stays."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, otherwise))
            return str(self._rows("SELECT value FROM facts WHERE name = ?", [name])[0][0])

    def key(self) -> bytes:
        """The sandbox's own random key."""
        return bytes.fromhex(self.fact("key", secrets.token_hex(32)))

    def balance_cents(self) -> int:
        """What is left of the account."""
        return int(self.fact("balance_cents", str(OPENING_BALANCE_CENTS)))

    def set_balance(self, cents: int) -> None:
        """Put the account at an amount."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('balance_cents', ?)", (str(cents),))

    def take_serials(self, count: int) -> int:
        """Reserve so many numbers for the PONumbers of other systems; the first of them."""
        with self.transaction() as connection:
            taken = int(self.fact("serials", "0"))
            connection.execute("UPDATE facts SET value = ? WHERE name = 'serials'", (str(taken + count),))
            return taken + 1

    def open_cents(self, now: float) -> int:
        """What the orders that are not completed yet cost."""
        return self._number("SELECT SUM(cost_cents) FROM orders WHERE completed_at > ? AND source = 'api'", [now])

    def count_post(self, po_number: str) -> int:
        """Note one more POST of a PONumber; how many there are now."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO posts VALUES (?, 1, 0) ON CONFLICT DO UPDATE SET count = count + 1", (po_number,)
            )
            return self._number("SELECT count FROM posts WHERE po_number = ?", [po_number])

    def note_refusal(self, po_number: str) -> None:
        """Remember that this PONumber got a 422."""
        with self.transaction() as connection:
            connection.execute("UPDATE posts SET refused = 1 WHERE po_number = ?", (po_number,))

    def was_refused(self, po_number: str) -> bool:
        """Whether this PONumber ever got a 422."""
        return bool(self._rows("SELECT 1 FROM posts WHERE po_number = ? AND refused", [po_number]))

    def place(self, placement: Placement, *, debit: bool) -> Order | Insufficient:
        """Debit and insert in one transaction. The caller has made sure that the PONumber is free."""
        intake = placement.intake
        with self.transaction():
            if debit:
                left = self.balance_cents() - intake.cost_cents
                if left < 0:
                    return Insufficient(left + intake.cost_cents)
                self.set_balance(left)
            number = self._insert(placement)
            self._announce(placement, number)
            return self._order("number = ?", [number])[0]

    def place_history(self, placements: Iterable[Placement]) -> None:
        """Insert many orders at once; no balance is touched."""
        with self.transaction():
            for placement in placements:
                self._insert(placement)

    def _insert(self, placement: Placement) -> int:
        intake, course = placement.intake, placement.course
        with self.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO orders (po_number, type, header, digest, source, units, cost_cents, created_at,"
                " completed_at, steps, claim_data, claims_at, rotates) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    intake.po_number,
                    intake.kind,
                    _json(intake.header),
                    intake.digest,
                    placement.source,
                    intake.units,
                    intake.cost_cents,
                    placement.created_at,
                    course.completed_at,
                    _json(course.steps),
                    placement.claim_data,
                    course.claims_at,
                    placement.rotates,
                ),
            )
            number = int(cursor.lastrowid or 0)
            parts = zip(intake.items, intake.costs, course.lines, strict=True)
            connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((number, index, *_line_columns(*part)) for index, part in enumerate(parts)),
            )
        return number

    def _announce(self, placement: Placement, number: int) -> None:
        url = placement.intake.webhook_url
        if url is None:
            return
        with self.transaction() as connection:
            for word in placement.announcements:
                body = _json(word.body(order_id(number), placement.intake.po_number))
                connection.execute(
                    "INSERT INTO deliveries (url, body, due_at) VALUES (?, ?, ?)", (url, body, word.due_at)
                )

    def order(self, number: int) -> Order | None:
        """One order by its number."""
        return next(iter(self._order("number = ?", [number])), None)

    def order_of(self, po_number: str) -> Order | None:
        """One order by its PONumber."""
        return next(iter(self._order("po_number = ?", [po_number])), None)

    def find(self, conditions: Sequence[tuple[str, Any]], order_by: str, limit: int, offset: int) -> list[Order]:
        """A page of the orders that meet every condition (SQL text with one parameter each)."""
        where, parameters = _where(conditions)
        return self._order(f"{where} ORDER BY {order_by} LIMIT ? OFFSET ?", [*parameters, limit, offset])

    def count(self, conditions: Sequence[tuple[str, Any]] = ()) -> int:
        """How many orders meet every condition."""
        where, parameters = _where(conditions)
        return self._number(f"SELECT COUNT(*) FROM orders WHERE {where}", parameters)  # noqa: S608 - our own text  # nosec B608

    def _order(self, where: str, parameters: Iterable[Any]) -> list[Order]:
        rows = self._rows(f"SELECT * FROM orders WHERE {where}", parameters)  # noqa: S608 - our own text  # nosec B608
        return [_order_from(row) for row in rows]

    def lines(self, numbers: Sequence[int]) -> dict[int, list[Line]]:
        """The lines of some orders, in the order of the request."""
        found: dict[int, list[Line]] = {number: [] for number in numbers}
        statement = (
            "SELECT order_number, position, quantity, cost_cents, item, fulfilled_at, moved_at FROM lines"
            " WHERE order_number IN (SELECT value FROM json_each(?)) ORDER BY order_number, position"
        )
        for number, position, quantity, cents, item, fulfilled_at, moved_at in self._rows(statement, [_json(numbers)]):
            course = LineCourse(fulfilled_at, moved_at)
            found[number].append(Line(number, position, quantity, cents, json.loads(item), course))
        return found

    def line_count(self, number: int) -> int:
        """How many lines an order has."""
        return self._number("SELECT COUNT(*) FROM lines WHERE order_number = ?", [number])

    def posts(self) -> dict[str, int]:
        """How many POSTs named each PONumber."""
        return {row[0]: row[1] for row in self._rows("SELECT po_number, count FROM posts")}

    def due_deliveries(self, now: float, limit: int) -> list[Delivery]:
        """The webhooks to be sent now, the longest due first."""
        rows = self._rows(
            "SELECT id, url, body, due_at, tries FROM deliveries WHERE outcome IS NULL AND due_at <= ?"
            " ORDER BY due_at LIMIT ?",
            [now, limit],
        )
        return [Delivery(*row) for row in rows]

    def note_delivery(self, delivery_id: int, *, outcome: str | None, due_at: float) -> None:
        """Note one try: an outcome ends the delivery, none leaves it due again."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET tries = tries + 1, outcome = ?, due_at = ? WHERE id = ?",
                (outcome, due_at, delivery_id),
            )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=float)


def _where(conditions: Sequence[tuple[str, Any]]) -> tuple[str, list[Any]]:
    return " AND ".join(text for text, _ in conditions) or "TRUE", [parameter for _, parameter in conditions]


def _line_columns(item: Mapping[str, Any], cost_cents: int, course: LineCourse) -> tuple[Any, ...]:
    digital: Mapping[str, Any] = item.get("DigitalDeliveryAddress") or {}
    physical: Mapping[str, Any] = item.get("PhysicalDeliveryAddress") or {}
    words: Mapping[str, Any] = item.get("Personalization") or {}
    name = physical.get("Name") or words.get("To")
    return (
        item["ProductId"],
        item["Quantity"],
        cost_cents,
        name,
        digital.get("Email"),
        digital.get("Sms"),
        _json(item),
        course.fulfilled_at,
        course.moved_at,
    )


def _order_from(row: sqlite3.Row) -> Order:
    return Order(
        number=row["number"],
        po_number=row["po_number"],
        kind=row["type"],
        header=json.loads(row["header"]),
        digest=row["digest"],
        source=row["source"],
        units=row["units"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        steps=tuple((at, word) for at, word in json.loads(row["steps"])),
        claim_data=row["claim_data"],
        claims_at=row["claims_at"],
        rotates=bool(row["rotates"]),
    )
