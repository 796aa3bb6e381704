"""Log of the calls to the provider's API: one record for each attempt, gathered in memory, written in groups.

Owns the record of a call and its table. Makes no call; what a record may hold of a body is masked before it comes here.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from tracking.errors import StoreBusy
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES

API_CALLS_STORED = 50_000
FLUSH_SECONDS = 0.5
MAX_WAITING = 10_000


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
        row = asdict(call)
        po_number, provider_id = row.pop("order_po"), row.pop("provider_id")
        rows.append(row | {"order_id": order_ids.get(po_number) or order_ids.get(provider_id)})
    store_api_calls(connection, rows)


def store_api_calls(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts calls of the provider's API and deletes all but the newest API_CALLS_STORED of them."""
    if not rows:
        return
    connection.execute(insert(EXCHANGES), [dict(row) for row in rows])
    newest = connection.execute(select(func.max(EXCHANGES.c.id))).scalar_one()
    connection.execute(delete(EXCHANGES).where(EXCHANGES.c.id <= newest - API_CALLS_STORED))
