"""Lines of one order: pages of them, how many are in which state, and what a program is given of a line. Bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders import wording
from tracking.orders.model import Line, State
from tracking.provider import people
from tracking.provider.masking import mask_recipient
from tracking.reports import amounts
from tracking.reports.order_page.rows import order_row
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import LINES

LINES_PER_PAGE = 100
MOST_DIGITS = 9


def currency_of_lines(connection: Connection, order: RowMapping) -> Callable[[str], str]:
    """What gives the currency of a line by its product: the order's or, where it does not say, the catalogue's."""
    if amounts.is_one_currency(order["currency"]):
        return lambda _: str(order["currency"])
    by_product = amounts.currencies(connection)
    return lambda product_id: by_product.get(product_id.casefold(), "")


def line_record(line: RowMapping, order_type: str, currency_of: Callable[[str], str]) -> dict[str, Any]:
    """What programs are given of a line; its recipient is masked."""
    names = ("number", "product_id", "value_minor", "quantity", "status", "claims")
    counted, currency = Line(**{name: line[name] for name in names}), currency_of(line["product_id"])
    return {
        "number": line["number"],
        "product_id": line["product_id"],
        "value": wording.amount(line["value_minor"], currency),
        "currency": currency or None,
        "quantity": line["quantity"],
        "status": line["status"],
        "fulfilled": counted.fulfilled(order_type),
        **{name: line[name] for name in ("claims", "provider_line_id", "external_id")},
        "recipient": _recipient(line),
    }


def _recipient(line: RowMapping) -> str | None:
    """Masked; of a recipient who was erased, that."""
    if line["recipient"]:
        return mask_recipient(line["recipient"])
    return "erased" if line["recipient_hash"] else None


@dataclass(frozen=True, slots=True)
class LinesPage:
    """One page of an order's lines, and how many lines match in all."""

    rows: pd.DataFrame
    total: int


def find_lines(
    database: Database,
    order_id: int,
    page: int = 1,
    size: int = LINES_PER_PAGE,
    *,
    status: str | None = None,
    text: str = "",
) -> LinesPage:
    """Find lines of the order of this status whose product, external id or recipient holds the text.

    Recipients are found however they are written, and shown masked; values are texts with their currency.
    """
    with database.read() as connection:
        order = order_row(connection, order_id)
        currency_of = currency_of_lines(connection, order)
        matching = [LINES.c.order_id == order_id, *_conditions(text.strip())]
        if status is not None and _status_of_all(order) is None:
            matching.append(LINES.c.status == status)
        query = select(LINES).where(*matching).order_by(LINES.c.number)
        rows = connection.execute(query.limit(size).offset((page - 1) * size)).mappings().all()
        total = connection.execute(select(sa.func.count()).select_from(LINES).where(*matching)).scalar_one()
    names = ["number", "product_id", "value", "quantity", "status", "fulfilled", "external_id", "recipient"]
    records = [
        line_record(row, order["type"], currency_of)
        | {"value": wording.money(row["value_minor"], currency_of(row["product_id"]))}
        for row in rows
    ]
    frame = pd.DataFrame(records, columns=names)
    status_of_all = _status_of_all(order)
    return LinesPage(frame if status_of_all is None else frame.assign(status=status_of_all), total)


def lines_page(database: Database, order_id: int, page: int = 1, size: int = LINES_PER_PAGE) -> pd.DataFrame:
    """One page of all lines of the order."""
    return find_lines(database, order_id, page, size).rows


def _conditions(text: str) -> list[Any]:
    """What a line must be to match; looked for among the lines of one order only."""
    if not text:
        return []
    people_forms = (LINES.c.recipient_key.contains(form, autoescape=True) for form in sorted(people.search_forms(text)))
    parts = (column.icontains(text, autoescape=True) for column in (LINES.c.product_id, LINES.c.external_id))
    numbers = [LINES.c.number == int(text)] if text.isascii() and text.isdigit() and len(text) < MOST_DIGITS else []
    return [sa.or_(*parts, *people_forms, *numbers)]


def _status_of_all(order: RowMapping) -> str | None:
    """The status of all lines where the provider has shown none: what is stored of them is nobody's word."""
    if order["provider_id"] is not None:
        return None
    return "not placed" if order["state"] == State.REFUSED else "not shown yet"


def line_progress(database: Database, order_id: int) -> pd.DataFrame:
    """How many lines and cards are in which state: columns status, lines, cards."""
    with database.read() as connection:
        status = _status_of_all(order_row(connection, order_id))
        column = LINES.c.status if status is None else sa.literal(status).label("status")
        counted = select(column, sa.func.count(), sa.func.sum(LINES.c.quantity)).where(LINES.c.order_id == order_id)
        rows = connection.execute(counted.group_by(column).order_by(column)).all()
    return pd.DataFrame(rows, columns=["status", "lines", "cards"])
