"""Amounts by currency: what orders and lines are worth, which is never added up over currencies. Reads only.

An order's currency is what the provider says or, where it says none, that of its products in the catalogue. An order of
several currencies, or of one that nobody has named, is added up from its lines.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.orders.vocabulary import MIXED
from tracking.orders.wording import amount, money
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.tables import LINES, OPEN, ORDERS

ORDERS_AT_ONCE = 500
ORDERS_BY_LINES = 5000
Values = dict[str, int]
"""Minor units by currency; "" is the currency that nobody knows."""


def currencies(connection: Connection) -> dict[str, str]:
    """The currency of each product of the catalogue that names one, by the product's id without case."""
    stored = facts.get_fact(connection, FactKey.CATALOG)
    products = stored.value.get("products") or () if stored else ()
    return {str(each["id"]).casefold(): each["currency"].upper() for each in products if each.get("currency")}


def is_one_currency(currency: str | None) -> bool:
    """Whether an order's currency says what all of it is worth."""
    return bool(currency) and MIXED not in str(currency)


def order_values(connection: Connection, orders: Iterable[Mapping[Any, Any]]) -> dict[int, Values]:
    """What each of the orders (id, currency, value_minor) is worth, by its row id."""
    values: dict[int, Values] = {}
    by_lines: dict[int, int] = {}
    for order in orders:
        if is_one_currency(order["currency"]):
            values[order["id"]] = {order["currency"]: order["value_minor"]}
        else:
            by_lines[order["id"]] = order["value_minor"]
    by_product = currencies(connection) if by_lines else {}
    if not by_product:
        return values | {order_id: {"": value} for order_id, value in by_lines.items()}
    sums: dict[int, Values] = defaultdict(lambda: defaultdict(int))
    worth = sa.func.sum(LINES.c.value_minor * LINES.c.quantity)
    ids = list(by_lines)
    for at in range(0, len(ids), ORDERS_AT_ONCE):
        part = ids[at : at + ORDERS_AT_ONCE]
        lines = select(LINES.c.order_id, LINES.c.product_id, worth).where(LINES.c.order_id.in_(part))
        for order_id, product_id, value in connection.execute(lines.group_by(LINES.c.order_id, LINES.c.product_id)):
            sums[order_id][by_product.get(product_id.casefold(), "")] += int(value)
    return values | {order_id: dict(sums.get(order_id) or {"": value}) for order_id, value in by_lines.items()}


def open_values(connection: Connection, group: ColumnElement[str]) -> Counter[tuple[str, str, str]]:
    """Count and add up the open orders by group and currency: (group, currency, "orders" or "value") to a number.

    Read from the index that holds all of it. What an order's currency does not say is added up from its lines; beyond
    the newest ORDERS_BY_LINES it is unknown. An order of two currencies counts in both.
    """
    group = group.label("grouped")
    sums = sa.func.count().label("orders"), sa.func.sum(ORDERS.c.value_minor).label("value_minor")
    by_currency = select(group, ORDERS.c.currency, *sums).where(OPEN).group_by(group, ORDERS.c.currency)
    # Else SQLite would walk over the states of all orders there ever were.
    by_currency = by_currency.with_hint(ORDERS, "INDEXED BY ix_orders_lifecycle", "sqlite")
    table: Counter[tuple[str, str, str]] = Counter()
    for row in connection.execute(by_currency):
        currency = row.currency if is_one_currency(row.currency) else ""
        table.update(
            {(row.grouped, currency, "orders"): row.orders, (row.grouped, currency, "value"): int(row.value_minor)}
        )
    if any(currency == "" for _, currency, _ in table):
        _add_by_lines(connection, group, table)
    return table


def _add_by_lines(connection: Connection, group: ColumnElement[str], table: Counter[tuple[str, str, str]]) -> None:
    """Move what the lines tell the currency of to that currency."""
    unclear = sa.or_(ORDERS.c.currency.is_(None), ORDERS.c.currency == "", ORDERS.c.currency.contains(MIXED))
    columns = (ORDERS.c.id, ORDERS.c.currency, ORDERS.c.value_minor, group)
    newest = select(*columns).where(OPEN, unclear).order_by(ORDERS.c.created_at.desc()).limit(ORDERS_BY_LINES)
    rows = connection.execute(newest).mappings().all()
    values = order_values(connection, rows)
    for row in rows:
        table.subtract({(row["grouped"], "", "orders"): 1, (row["grouped"], "", "value"): row["value_minor"]})
        for currency, value in values[row["id"]].items():
            table.update({(row["grouped"], currency, "orders"): 1, (row["grouped"], currency, "value"): value})


def one_amount(values: Mapping[str, int]) -> str | None:
    """The amount as a decimal text; None where it is of several currencies, which have no sum."""
    return next((amount(value, currency) for currency, value in values.items()), "0.00") if len(values) < 2 else None


def decimal_texts(values: Mapping[str, int]) -> dict[str, str]:
    """The amounts as decimal texts by currency, for programs."""
    return {currency: amount(value, currency) for currency, value in sorted(values.items())}


def worth(values: Mapping[str, int]) -> str:
    """The amounts for people: "5.00 USD and 10.00 CAD"."""
    return " and ".join(money(value, currency) for currency, value in sorted(values.items())) or money(0, "")
