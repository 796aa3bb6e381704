"""Rows of the store that the parts of an order's page are made of."""

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import UnknownOrder
from tracking.storage.tables import ORDERS


def order_row(connection: Connection, order_id: int) -> RowMapping:
    """The order's row.

    Raises:
        UnknownOrder: no order has this id.
    """
    row = connection.execute(select(ORDERS).where(ORDERS.c.id == order_id)).mappings().one_or_none()
    if row is None:
        raise UnknownOrder(f"no order has the number {order_id}")
    return row
