"""All writes. Each function is one step of a job that `Database` commits; none opens a transaction of its own.

Owns how an order and its log are kept: the row is always the fold of the events, and the counters change in the same
transaction as what they count.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from tracking.orders import event_chain as chain
from tracking.orders.model import FACTS, Event, Line, Order
from tracking.storage import statements
from tracking.storage.tables import BATCHES, EXCHANGES, ORDERS, OUTBOX

REFUSALS_KEPT = 1000
EXCHANGES_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Kept:
    """An order as stored: its row's id, its facts, and what the console keeps beside them but for the document."""

    id: int
    order: Order
    row: RowMapping


def find(
    connection: Connection,
    *,
    order_id: int | None = None,
    po_number: str | None = None,
    provider_id: str | None = None,
    with_lines: bool = True,
) -> Kept | None:
    """The order with this id of whatever kind, its row locked for the rest of the transaction."""
    named = {"po_number": po_number, "provider_id": provider_id, "id": order_id}
    name = next((name for name, value in named.items() if value is not None), "id")
    row = connection.execute(statements.ORDER_BY[name], {"wanted": named[name]}).one_or_none()
    if row is None:
        return None
    facts = dict(zip(FACTS, row, strict=False))
    order = Order(**facts, lines=lines_of(connection, row.id) if with_lines else ())
    return Kept(row.id, order, row._mapping)  # noqa: SLF001 - public; so named to differ from every column


def lines_of(connection: Connection, order_id: int) -> tuple[Line, ...]:
    """The order's lines by number."""
    return tuple(Line(*row) for row in connection.execute(statements.LINES_OF, {"wanted": order_id}))


def add_order(connection: Connection, order: Order, first: Event, beside: Mapping[str, Any]) -> int:
    """Stores a new order with its lines and its first event; returns the row's id."""
    lines = chain.line_rows(order.lines, new_salt)
    first = chain.with_contents(first, lines)
    log, head = chain.rows(order.po_number, chain.start(order.po_number), 0, [first])
    kept = {"line_count": len(lines), "event_count": 1, "head": head} | dict(beside)
    row = {name: getattr(order, name) for name in FACTS} | kept
    order_id: int = connection.execute(statements.ADD_ORDER, row).scalar_one()
    if lines:
        connection.execute(statements.ADD_LINES, [{"order_id": order_id, **line} for line in lines])
    connection.execute(statements.ADD_EVENTS, [{"order_id": order_id, **entry} for entry in log])
    _count(connection, None, order, first)
    return order_id


def new_salt() -> str:
    """What a recipient's hash is keyed with: 128 bits that nobody can guess."""
    return secrets.token_hex(16)


def save(
    connection: Connection,
    kept: Kept,
    after: Sequence[Order],
    events: Sequence[Event],
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Appends the events and brings row, lines and counters to what they say.

    Args:
        connection: of the writer.
        kept: the order before.
        after: the order after each of the events.
        events: what happened, in order.
        beside: columns that are not facts, such as next_look_at.
    """
    changed: dict[str, Any] = dict(beside or {})
    if events:
        last = after[-1]
        changed |= {name: getattr(last, name) for name in FACTS if getattr(last, name) != getattr(kept.order, name)}
        count, head = kept.row["event_count"], kept.row["head"] or ""
        log, changed["head"] = chain.rows(kept.order.po_number, head, count, events)
        changed["event_count"] = count + len(log)
        connection.execute(statements.ADD_EVENTS, [{"order_id": kept.id, **entry} for entry in log])
    if changed:
        connection.execute(statements.CHANGE_ORDER, {"changed_id": kept.id, **changed})
    before = kept.order
    for order, event in zip(after, events, strict=True):
        _save_lines(connection, kept.id, event.line_changes)
        _count(connection, before, order, event)
        before = order


def annotate_lines(connection: Connection, order_id: int, notes: Sequence[Mapping[str, Any]]) -> None:
    """Sets what events do not carry line by line (the provider's line ids, digests): [{"number": 1, ...}]."""
    for names in {tuple(note) for note in notes}:
        rows = [
            {"changed_id": order_id, "first": note["number"], "last": note["number"]}
            | {name: note[name] for name in names if name != "number"}
            for note in notes
            if tuple(note) == names
        ]
        connection.execute(statements.CHANGE_LINES, rows)


def _save_lines(connection: Connection, order_id: int, changes: Sequence[Mapping[str, Any]]) -> None:
    for change in changes:
        values = {name: value for name, value in change.items() if name != "numbers"}
        for run in change["numbers"].split(","):
            first, _, last = run.partition("-")
            within = {"changed_id": order_id, "first": int(first), "last": int(last or first)}
            connection.execute(statements.CHANGE_LINES, within | values)


def hour_of(moment: datetime) -> datetime:
    """The full hour in UTC that the moment lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def movements(before: Order | None, after: Order, event: Event) -> list[tuple[str, datetime, str, int]]:
    """What the event means for the counters: (name, hour, state, +1 or -1)."""
    found = bool(event.detail.get("first_sight"))
    born, learned = hour_of(after.created_at), hour_of(event.learned_at)
    return moved(before.state if before else None, after.state, born, learned, found=found)


def moved(
    before: str | None, after: str, born: datetime, learned: datetime, *, found: bool
) -> list[tuple[str, datetime, str, int]]:
    """The same of the states alone: `born` and `learned` are full hours, `found` marks what was so at first sight."""
    if before == after:
        return []
    changed = [("stock", born, after, 1), ("flow", learned, f"{'Found ' if found else ''}{after}", 1)]
    return changed if before is None else [("stock", born, before, -1), *changed]


def _count(connection: Connection, before: Order | None, after: Order, event: Event) -> None:
    rows = [
        {
            "name": name,
            "hour": hour,
            "state": state,
            "orders": sign,
            "units": sign * after.units,
            "value_minor": sign * after.value_minor,
        }
        for name, hour, state, sign in movements(before, after, event)
    ]
    if rows:
        connection.execute(statements.adding_counts(connection.dialect.name), rows)


# The outbox


def queue(connection: Connection, order_id: int, request: Mapping[str, Any], now: datetime) -> None:
    """Commits the intent to send; `sender` does the rest."""
    connection.execute(statements.QUEUE, {"order_id": order_id, "request": dict(request), "next_attempt_at": now})


def requeue(connection: Connection, order_id: int, now: datetime) -> bool:
    """Makes the order's outbox row due now; False where there is none."""
    due = {"changed_id": order_id, "done": False, "next_attempt_at": now}
    return connection.execute(statements.CHANGE_OUTBOX, due).rowcount > 0


def claim_outbox(
    connection: Connection, now: datetime, *, owner: str, lease: timedelta, limit: int
) -> list[RowMapping]:
    """Takes due outbox rows under a lease, oldest first; rows that another worker holds are passed over."""
    asked = {"now": now, "owner": owner, "until": now + lease, "at_most": limit}
    taken = connection.execute(statements.TAKE_ATTEMPTS, asked).mappings()
    return sorted(taken, key=lambda row: row["order_id"])


def record_attempt(connection: Connection, order_id: int) -> int:
    """Counts the attempt that is about to leave; returns its number."""
    number: int = connection.execute(statements.COUNT_ATTEMPT, {"changed_id": order_id}).scalar_one()
    return number


def finish_outbox(
    connection: Connection, order_id: int, *, again_at: datetime | None, error: str | None = None
) -> None:
    """Ends the lease: done, or due again at `again_at`."""
    values: dict[str, Any] = {"lease_owner": None, "lease_until": None, "last_error": error}
    values |= {"done": True} if again_at is None else {"next_attempt_at": again_at}
    connection.execute(statements.CHANGE_OUTBOX, {"changed_id": order_id, **values})


def interrupted(connection: Connection, now: datetime) -> list[int]:
    """Orders whose attempt was recorded and whose worker is gone: nobody knows whether the POST was carried out."""
    return list(connection.execute(statements.INTERRUPTED, {"now": now}).scalars())


def release(connection: Connection, owners: Sequence[str]) -> None:
    """Gives back what these owners held: they are known to be gone."""
    for statement in statements.RELEASE:
        connection.execute(statement, {"gone": list(owners)})


def owners(connection: Connection) -> list[str]:
    """Everyone who holds a lease."""
    held = {owner for table in (ORDERS, OUTBOX) for owner in connection.execute(_owners(table)).scalars()}
    return sorted(held)


def _owners(table: Any) -> Any:
    return select(table.c.lease_owner).where(table.c.lease_owner.is_not(None)).distinct()


# Due looks


def claim_looks(
    connection: Connection, wanted: Sequence[int], now: datetime, *, owner: str, lease: timedelta
) -> list[RowMapping]:
    """Takes these orders under a lease, as far as nobody holds them and they are to be looked at at all."""
    asked = {"wanted": list(wanted), "now": now, "owner": owner, "until": now + lease, "at_most": len(wanted)}
    return list(connection.execute(statements.TAKE_LOOKS, asked).mappings())


def attempts_due(connection: Connection, now: datetime) -> bool:
    """Whether an outbox row that nobody holds is due."""
    return connection.execute(statements.ANY_ATTEMPT_DUE, {"now": now}).first() is not None


def created_between(connection: Connection, first: datetime, last: datetime, limit: int) -> list[datetime]:
    """When the orders between these two times were created at the provider, ascending, at most `limit`."""
    asked = {"first": first, "last": last, "at_most": limit}
    return list(connection.execute(statements.CREATED_BETWEEN, asked).scalars())


def set_beside(connection: Connection, order_id: int, values: Mapping[str, Any]) -> None:
    """Sets columns that are no facts: due times, leases, failures."""
    connection.execute(statements.CHANGE_ORDER, {"changed_id": order_id, **values})


def release_look(connection: Connection, order_ids: Sequence[int], *, due_at: datetime | None = None) -> None:
    """Gives the orders back unlooked-at, due at `due_at` or still at once."""
    values: dict[str, Any] = {"lease_owner": None, "lease_until": None}
    if due_at is not None:
        values["next_look_at"] = due_at
    connection.execute(update(ORDERS).where(ORDERS.c.id.in_(order_ids)).values(values))


# Callbacks


def record_callback(
    connection: Connection, values: Mapping[str, Any], now: datetime, *, times: int = 1
) -> tuple[int, int]:
    """Stores a callback that has come `times` times, or counts it as repeated so often.

    Returns (id, how often it has been repeated by now), where 0 repeats are told for one that had not come before.
    """
    adding = statements.adding_callback(connection.dialect.name)
    came = {"repeats": times - 1, "received_at": now, "last_at": now}
    row = connection.execute(adding, {**values, **came}).one()
    return row[0], row[1] if row[1] >= times else 0


def settle_callback(
    connection: Connection, callback_id: int, *, outcome: str, order_id: int | None, reason: str | None = None
) -> None:
    """Says what became of a callback."""
    settled = {"changed_id": callback_id, "outcome": outcome, "order_id": order_id, "reason": reason}
    connection.execute(statements.CHANGE_CALLBACK, settled)


def waiting_callbacks(connection: Connection, po_number: str) -> list[RowMapping]:
    """Callbacks that came before their order."""
    return list(connection.execute(statements.WAITING, {"wanted": po_number}).mappings())


def record_refusal(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Keeps a refused call, the newest REFUSALS_KEPT of them, counted each time along an index of their own."""
    came = {"outcome": "refused", "received_at": now, "last_at": now}
    connection.execute(statements.ADD_CALLBACK, {**values, **came})
    connection.execute(statements.DROP_REFUSALS, {"kept": REFUSALS_KEPT})


# Exchanges, batches, facts


def record_exchanges(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keeps calls of the provider's API, the newest EXCHANGES_KEPT of them."""
    if not rows:
        return
    connection.execute(insert(EXCHANGES), [dict(row) for row in rows])
    newest = connection.execute(select(func.max(EXCHANGES.c.id))).scalar_one()
    connection.execute(delete(EXCHANGES).where(EXCHANGES.c.id <= newest - EXCHANGES_KEPT))


def order_ids(
    connection: Connection, *, po_numbers: Sequence[str] = (), provider_ids: Sequence[str] = ()
) -> dict[str, int]:
    """The row ids behind PONumbers and provider ids."""
    wanted = {"po_number": list(po_numbers), "provider_id": list(provider_ids)}
    found = (connection.execute(statements.IDS_BY[name], {"wanted": values}) for name, values in wanted.items())
    return {name: order_id for rows in found for name, order_id in rows}


def po_numbers_of(connection: Connection, provider_ids: Sequence[str]) -> dict[str, str]:
    """The PONumbers of the orders the provider calls so, by its ids."""
    named = connection.execute(statements.PO_NUMBERS, {"wanted": list(provider_ids)})
    return {row.provider_id: row.po_number for row in named}


def add_batch(connection: Connection, values: Mapping[str, Any]) -> int:
    """Remembers a file that was handed in."""
    batch_id: int = connection.execute(insert(BATCHES).values(dict(values)).returning(BATCHES.c.id)).scalar_one()
    return batch_id


def set_fact(connection: Connection, key: str, value: Mapping[str, Any], now: datetime) -> None:
    """Remembers one small thing, replacing what was remembered under the key."""
    setting = statements.setting_fact(connection.dialect.name)
    connection.execute(setting, {"key": key, "value": dict(value), "at": now})


def fact(connection: Connection, key: str) -> tuple[datetime, dict[str, Any]] | None:
    """What was remembered under the key, and when."""
    row = connection.execute(statements.FACT, {"wanted": key}).one_or_none()
    return (row[0], row[1]) if row else None
