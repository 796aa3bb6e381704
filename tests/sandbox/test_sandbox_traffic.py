"""Orders of other systems."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_orders_placed_elsewhere_are_listed_debited_and_numbered_apart(desk: Desk) -> None:
    sandbox = desk.start()
    before = desk.get("AccountBalance").json()["Available"]
    numbers = sandbox.place_elsewhere(5)
    desk.start()
    assert desk.sandbox is not None
    numbers += desk.sandbox.place_elsewhere(5)
    assert len(set(numbers)) == 10
    listed = [order["PONumber"] for order in desk.get("Orders", pageSize=50).json()["Data"]]
    assert sorted(listed) == sorted(numbers)
    assert {order["source"] for order in desk.sandbox.truth()} == {"elsewhere"}
    assert {order["posts"] for order in desk.sandbox.truth()} == {0}
    assert desk.get("AccountBalance").json()["Available"] < before


def test_history_is_plausible_and_written_once(desk: Desk) -> None:
    sandbox = desk.start(history_days=7)
    truth = sandbox.truth()
    assert 7 * 80 <= len(truth) <= 7 * 120
    statuses = Counter(order["status"] for order in truth)
    assert set(statuses) == {"Completed", "Cancelled", "Processing"}
    assert 1 <= statuses["Cancelled"] < 40
    assert 5 <= statuses["Processing"] <= 10
    assert {order["type"] for order in truth} == {"Links", "Codes", "DigitalDelivery", "PhysicalShipment"}
    hours = Counter(datetime.fromisoformat(order["created_at"]).hour for order in truth)
    assert sum(hours[hour] for hour in range(13, 20)) > 3 * sum(hours[hour] for hour in range(7))
    assert {line["status"] for order in truth for line in order["lines"]} >= {"Claimed", "Completed", "Sent", "Shipped"}
    long_open = [
        order for order in truth if order["status"] == "Processing" and _age(desk, order["created_at"]) > 86_400
    ]
    assert 1 <= len(long_open) <= 2
    assert desk.get("AccountBalance").json()["Available"] == 10_000_000
    assert desk.start(history_days=7).truth() == truth


def _age(desk: Desk, text: str) -> float:
    return desk.now - datetime.fromisoformat(text).timestamp()


def test_traffic_brings_about_as_many_orders_as_asked_for(desk: Desk) -> None:
    sandbox = desk.start(traffic=2)

    async def hour() -> None:
        for _ in range(60):
            desk.now += 60
            await sandbox.step()

    asyncio.run(hour())
    assert 80 < len(sandbox.truth()) < 170


def test_the_background_makes_the_traffic(desk: Desk) -> None:
    sandbox = desk.start(traffic=600)

    async def serve() -> None:
        async with sandbox.running():
            for _ in range(20):
                desk.now += 1
                await asyncio.sleep(0.001)

    asyncio.run(serve())
    assert sandbox.truth()
