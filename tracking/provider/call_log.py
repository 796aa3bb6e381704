"""Call log: a record of each attempt to call the provider, gathered in memory and written in groups.

Owns the record of a call and its table. Makes no call; what a record may hold of a body is masked before it comes here.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from tracking.errors import StoreBusy
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.retention.lease import calls_removed_until
from tracking.storage.tables import EXCHANGES

RECENT_CALLS = 50_000
LOOKS_OF_ORDER = 3
CALLS_OF_ORDER = 100
FLUSH_SECONDS = 0.5
MAX_WAITING = 10_000
_ANSWER = ("method", "path", "status", "outcome", "answer")
_own = EXCHANGES.c.order_id
_LATEST_IDS = select(func.max(EXCHANGES.c.id)).where(_own.in_(bindparam("orders", expanding=True))).group_by(_own)
_LATEST = select(_own, *(EXCHANGES.c[name] for name in _ANSWER)).where(EXCHANGES.c.id.in_(_LATEST_IDS))
# What was just pushed out of the newest, by the time it was stored, and what of its orders lies beyond the newest.
_UNTIL: Any = bindparam("until")
_LEAVING = (EXCHANGES.c.id > bindparam("after"), EXCHANGES.c.id <= _UNTIL)
_ITS_ORDERS = select(_own).where(*_LEAVING)
_OLD_OF_ORDERS = (_own.in_(_ITS_ORDERS), EXCHANGES.c.id <= _UNTIL)
_AT_MOST: Any = bindparam("at_most")
_DELETE_ORDERLESS = delete(EXCHANGES).where(*_LEAVING, _own.is_(None))


def _delete_beyond(first: Sequence[Any], *conditions: Any) -> Any:
    """Delete all but an order's first `at_most` of these calls."""
    rank = func.row_number().over(partition_by=_own, order_by=[*first, EXCHANGES.c.id.desc()])
    ranked = select(EXCHANGES.c.id, rank.label("rank")).where(*conditions).subquery()
    return delete(EXCHANGES).where(EXCHANGES.c.id.in_(select(ranked.c.id).where(ranked.c.rank > _AT_MOST)))


_DELETE_UNCHANGED = _delete_beyond([], EXCHANGES.c.unchanged, *_OLD_OF_ORDERS)
_CROWDED = select(_own).where(*_OLD_OF_ORDERS).group_by(_own).having(func.count() > _AT_MOST)
_SENDS_FIRST = (EXCHANGES.c.method == "POST").desc()
_OF_CROWDED = _own.in_(bindparam("crowded", expanding=True)), EXCHANGES.c.id <= _UNTIL
_DELETE_SURPLUS = _delete_beyond([_SENDS_FIRST], *_OF_CROWDED)


@dataclass(frozen=True, slots=True)
class ApiCallRecord:
    """Record of one HTTP call. Bodies are masked and cut; None where there was none or it is not recorded."""

    at: datetime
    method: str
    path: str
    status: int | None
    milliseconds: int
    outcome: str
    order_po: str | None = None
    provider_id: str | None = None
    request: str | None = None
    answer: str | None = None


_RECORDED = [field.name for field in fields(ApiCallRecord)]


class CallLog:
    """Gathers the calls the client makes and writes them in groups; loses the oldest rather than grow for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[ApiCallRecord] = deque(maxlen=MAX_WAITING)

    def record(self, call: ApiCallRecord) -> None:
        """Takes one call in; never waits."""
        self._waiting.append(call)

    async def flush(self) -> None:
        """Writes what has gathered.

        Raises:
            StoreBusy: it stays here for the next time.
            StoreError: it can never be written, and is let go lest it keep out all that follows.
        """
        gathered = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not gathered:
            return
        try:
            await self._database.run(lambda connection: _store(connection, gathered))
        except StoreBusy:
            self._waiting = deque([*gathered, *self._waiting], maxlen=MAX_WAITING)
            raise


def _store(connection: Connection, calls: list[ApiCallRecord]) -> None:
    po_numbers = [call.order_po for call in calls if call.order_po]
    provider_ids = [call.provider_id for call in calls if call.provider_id]
    order_ids = orders.order_ids(connection, po_numbers=po_numbers, provider_ids=provider_ids)
    rows = []
    for call in calls:
        row = {name: getattr(call, name) for name in _RECORDED}
        po_number, provider_id = row.pop("order_po"), row.pop("provider_id")
        rows.append(row | {"order_id": order_ids.get(po_number) or order_ids.get(provider_id)})
    store_api_calls(connection, rows)


def store_api_calls(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts calls of the provider's API, by time; prunes what they push out of the newest RECENT_CALLS.

    Of those older ones stay, for each order, what changed something: every POST, each look that was not answered as the
    one before, and the newest LOOKS_OF_ORDER of all its others; CALLS_OF_ORDER at the most. Those of no order leave.
    """
    if not rows:
        return
    before = _newest_id(connection)
    connection.execute(insert(EXCHANGES), _marked(connection, rows))
    ends = {"after": before - RECENT_CALLS, "until": _newest_id(connection) - RECENT_CALLS}
    if ends["until"] > 0:
        connection.execute(_DELETE_ORDERLESS, ends)
        connection.execute(_DELETE_UNCHANGED, ends | {"at_most": LOOKS_OF_ORDER})
        bound = {"at_most": CALLS_OF_ORDER}
        if crowded := connection.execute(_CROWDED, ends | bound).scalars().all():
            connection.execute(_DELETE_SURPLUS, ends | bound | {"crowded": crowded})


def calls_complete_since(connection: Connection) -> datetime | None:
    """Since when every call is stored: the oldest of the newest RECENT_CALLS; None where there was none yet.

    Where calls have left with the log of their order, not before the newest of these.
    """
    recent = EXCHANGES.c.id > _newest_id(connection) - RECENT_CALLS
    at: datetime | None = connection.execute(
        select(EXCHANGES.c.at).where(recent).order_by(EXCHANGES.c.id).limit(1)
    ).scalar()
    removed_until = calls_removed_until(connection)
    return at if at is None or removed_until is None else max(at, removed_until)


def _newest_id(connection: Connection) -> int:
    return connection.execute(select(func.max(EXCHANGES.c.id))).scalar() or 0


def _marked(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls, those that ask for an order marked where they were answered as the call before for the same one."""
    orders_of_rows = {row["order_id"] for row in rows if row.get("order_id") is not None}
    latest: dict[Any, Any] = {}
    if orders_of_rows:
        before = connection.execute(_LATEST, {"orders": list(orders_of_rows)})
        latest = {order_id: tuple(answer) for order_id, *answer in before}
    records = []
    for row in rows:
        order_id, answer = row.get("order_id"), tuple(map(row.get, _ANSWER))
        unchanged = order_id is not None and row["method"] == "GET" and latest.get(order_id) == answer
        latest[order_id] = answer
        records.append({**row, "unchanged": unchanged})
    return records
