"""tracking.submissions.results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tracking.orders.model import OrderRequest
from tracking.orders.wording import guarded
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions.files import (
    Checked,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands, in short."""

    po_number: str
    state: str
    provider_id: str | None
    attention: str | None
    completed_by: datetime | None


def standing(database: Database, po_numbers: Iterable[str]) -> dict[str, Standing]:
    """Where these orders stand, by PONumber; those nobody handed in are left out."""
    columns = [ORDERS.c[entry.name] for entry in fields(Standing)]
    known: dict[str, Standing] = {}
    remaining = iter(po_numbers)
    with database.read() as connection:
        while part := list(itertools.islice(remaining, 500)):
            for row in connection.execute(sa.select(*columns).where(ORDERS.c.po_number.in_(part))):
                known[row.po_number] = Standing(*row)
    return known


def outcome_rows(database: Database, checked: Checked) -> pd.DataFrame:
    """What became of each row of the file, in its order: for people to download.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    known = standing(database, [request.po_number for request in checked.requests])
    rows = [
        (number, *cells)
        for request in checked.requests
        for number, cells in zip(_numbers(checked, request), _outcomes(request, known), strict=True)
    ]
    columns = ["row", "po_number", "product_id", "value", "quantity", "external_id", "state", "provider_id", "message"]
    return pd.DataFrame(sorted(rows), columns=columns)


def _numbers(checked: Checked, request: OrderRequest) -> Iterable[int]:
    return checked.rows_of.get(request.po_number) or range(1, len(request.lines) + 1)


def _outcomes(request: OrderRequest, known: Mapping[str, Standing]) -> Iterator[tuple[Any, ...]]:
    order = known.get(request.po_number)
    state, provider_id, message = (order.state, order.provider_id, order.attention) if order else ("not sent", "", "")
    for line in request.lines:
        yield (
            guarded(request.po_number),
            guarded(line.product_id),
            line.value_minor / 100,
            line.quantity,
            guarded(line.external_id or ""),
            guarded(state),
            guarded(provider_id or ""),
            guarded(message or ""),
        )
