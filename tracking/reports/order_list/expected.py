"""ETA of each order in a list: by when nine in ten orders like it, and as old, are complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tracking.forecasting.classes import class_of
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.predictions import remaining
from tracking.orders.model import is_open
from tracking.storage.database import Database


def expected_times(database: Database, orders: Sequence[Mapping[Any, Any]], now: datetime) -> list[datetime | None]:
    """By when each of the orders (type, units, state, accepted_at) is complete, with nine chances in ten.

    None of an order that is not open at the provider, and where too few like it have finished to say.
    """
    waiting = [_is_waiting(order) for order in orders]
    if not any(waiting):
        return [None] * len(orders)
    forecasts = _learned(database, {order["type"] for order, waits in zip(orders, waiting, strict=True) if waits})
    return [_time(forecasts, order, now) if waits else None for order, waits in zip(orders, waiting, strict=True)]


def _is_waiting(order: Mapping[Any, Any]) -> bool:
    return isinstance(order["accepted_at"], datetime) and is_open(order["state"])


def _learned(database: Database, types: set[str]) -> Forecasts:
    from tracking.forecasting import learned  # noqa: PLC0415 - numpy is imported when first needed, not at a start

    forecasts = Forecasts()
    with database.read() as connection:
        for order_type in sorted(types):
            learned.load_forecasts(connection, forecasts, order_type)
    return forecasts


def _time(forecasts: Forecasts, order: Mapping[Any, Any], now: datetime) -> datetime | None:
    age = max((now - order["accepted_at"]).total_seconds(), 0.0)
    compared = forecasts.comparable_times(class_of(order["type"], order["units"]))
    left = remaining(compared.finishes_by(0.9, age), age)
    return None if left is None else now + left
