"""Amounts by currency: the value of orders and lines; currencies are never added up. Bounded reads.

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
SEVERAL = MIXED
Values = dict[str, int]
"""Minor units by currency; "" is the currency that nobody knows.

SEVERAL is for amounts in several currencies that nothing tells apart (any more): there are some, and its number is 0.
"""


def currencies(connection: Connection) -> dict[str, str]:
    """The currency of each product of the catalogue that names one, by the product's id without case."""
    stored = facts.get_fact(connection, FactKey.CATALOG)
    products = stored.value.get("products") or () if stored else ()
    return {str(each["id"]).casefold(): each["currency"].upper() for each in products if each.get("currency")}


def is_one_currency(currency: str | None) -> bool:
    """Whether an order's currency says what all of it is worth."""
    return bool(currency) and MIXED not in str(currency)


def is_several(currency: str | None) -> bool:
    """Whether an order is of several currencies, so that its `value_minor` is no amount of money."""
    return MIXED in (currency or "")


def unsplit(currency: str | None, value: int) -> Values:
    """What orders of this currency are worth where their lines do not tell: in none that is known, or in several."""
    return {SEVERAL: 0} if is_several(currency) else {"": value}


class Sums:
    """Adds up the value of orders by currency: first by order, then by lines for orders that name no currency."""

    def __init__(self) -> None:
        self._values: Counter[str] = Counter()
        self._several = 0

    def add(self, currency: str | None, value: int, orders: int) -> None:
        """Add so many orders of this currency, or of none that is known, or of several."""
        if is_several(currency):
            self._several += orders
        else:
            self._values[currency or ""] += value

    def split(self, currency: str | None, value: int, values: Values) -> None:
        """Put what the lines of one order tell in place of what was added for it."""
        self.add(currency, -value, -1)
        for each, part in values.items():
            self.add(each, part, 1)

    @property
    def unclear(self) -> bool:
        """Whether lines may tell more."""
        return bool(self._several) or "" in self._values

    @property
    def values(self) -> Values:
        """The sums, without those of nothing."""
        several = {SEVERAL: 0} if self._several > 0 else {}
        return {currency: value for currency, value in sorted(self._values.items()) if value} | several


def order_values(connection: Connection, orders: Iterable[Mapping[Any, Any]]) -> dict[int, Values]:
    """What each of the orders (id, currency, value_minor) is worth, by its row id."""
    values: dict[int, Values] = {}
    by_lines: dict[int, Values] = {}
    for order in orders:
        if is_one_currency(order["currency"]):
            values[order["id"]] = {order["currency"]: order["value_minor"]}
        else:
            by_lines[order["id"]] = unsplit(order["currency"], order["value_minor"])
    by_product = currencies(connection) if by_lines else {}
    if not by_product:
        return values | by_lines
    sums: dict[int, Values] = defaultdict(lambda: defaultdict(int))
    worth = sa.func.sum(LINES.c.value_minor * LINES.c.quantity)
    ids = list(by_lines)
    for at in range(0, len(ids), ORDERS_AT_ONCE):
        part = ids[at : at + ORDERS_AT_ONCE]
        lines = select(LINES.c.order_id, LINES.c.product_id, worth).where(LINES.c.order_id.in_(part))
        for order_id, product_id, value in connection.execute(lines.group_by(LINES.c.order_id, LINES.c.product_id)):
            if currency := by_product.get(product_id.casefold()):
                sums[order_id][currency] += int(value)
            elif SEVERAL in by_lines[order_id]:
                sums[order_id][SEVERAL] = 0
            else:
                sums[order_id][""] += int(value)
    return values | {order_id: dict(sums.get(order_id) or value) for order_id, value in by_lines.items()}


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
        value = int(row.value_minor)
        each = {row.currency: value} if is_one_currency(row.currency) else unsplit(row.currency, value)
        for currency, of_it in each.items():
            table.update({(row.grouped, currency, "orders"): row.orders, (row.grouped, currency, "value"): of_it})
    if any(currency in {"", SEVERAL} for _, currency, _ in table):
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
        for currency, value in unsplit(row["currency"], row["value_minor"]).items():
            table.subtract({(row["grouped"], currency, "orders"): 1, (row["grouped"], currency, "value"): value})
        for currency, value in values[row["id"]].items():
            table.update({(row["grouped"], currency, "orders"): 1, (row["grouped"], currency, "value"): value})


def one_amount(values: Mapping[str, int]) -> str | None:
    """The amount as a decimal text; None where it is of several currencies, which have no sum."""
    if SEVERAL in values:
        return None
    return next((amount(value, currency) for currency, value in values.items()), "0.00") if len(values) < 2 else None


def decimal_texts(values: Mapping[str, int]) -> dict[str, str]:
    """The amounts as decimal texts by currency, for programs; without those that nothing tells apart."""
    return {currency: amount(value, currency) for currency, value in sorted(values.items()) if currency != SEVERAL}


def worth(values: Mapping[str, int]) -> str:
    """The amounts for people: "5.00 USD and 10.00 CAD"."""
    texts = [money(value, currency) for currency, value in sorted(values.items()) if currency != SEVERAL]
    if SEVERAL in values:
        texts.append("more in several currencies" if texts else "amounts in several currencies")
    return " and ".join(texts) or money(0, "")
