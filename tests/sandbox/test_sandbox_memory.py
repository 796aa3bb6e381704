from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tracking.sandbox.server import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_restart_forgets_nothing(desk: Desk) -> None:
    before = desk.start()
    done, pending = desk.place("done"), desk.place("pending", lines=30)
    refused = desk.post(desk.order("timeout", note="[timeout-before]"))
    truth, balance = before.truth(), desk.get("AccountBalance").json()
    token = desk.token
    after = desk.start()
    assert after.truth() == truth
    bearer = {"Authorization": f"Bearer {token}"}
    assert desk.raw("GET", "/v1/AccountBalance", headers=bearer).json() == balance
    assert desk.show(done) == done
    assert refused.status_code == 504
    assert desk.post(desk.order("done")).status_code == 409
    assert desk.show(pending, after=1000)["Status"] == "Completed"
    answers = [desk.post(desk.order("timeout", note="[timeout-before]")).status_code for _ in range(2)]
    assert answers in ([201, 409], [504, 201])


def test_a_clock_that_goes_back_is_harmless(desk: Desk) -> None:
    desk.start()
    order = desk.place("po", lines=10)
    assert desk.show(order, after=-500)["Status"] == "Pending"
    assert desk.show(order, after=1500)["Status"] == "Completed"


def test_it_lives_without_a_file(desk: Desk) -> None:
    desk.path = Path(":memory:")
    desk.start()
    assert desk.place("po")["Status"] == "Completed"


def test_the_truth_tells_of_the_present_and_not_of_the_future(desk: Desk) -> None:
    sandbox = desk.start()
    order = desk.place("po", lines=10, Quantity=2)
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["status"], truth["type"], truth["units"]) == (order["Id"], "Pending", "Links", 20)
    assert (truth["completed_at"], truth["posts"], truth["source"]) == (None, 1, "api")
    assert [line["id"] for line in truth["lines"]] == [line["Id"] for line in order["LineItems"]]
    desk.now += 1000
    (truth,) = sandbox.truth()
    assert truth["status"] == "Completed"
    begun, ended = datetime.fromisoformat(truth["created_at"]), datetime.fromisoformat(truth["completed_at"])
    assert 0 < (ended - begun).total_seconds() < 1000


def test_orders_placed_elsewhere_are_seen_debited_and_numbered_apart(desk: Desk) -> None:
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


def test_a_speed_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speed"):
        Sandbox(tmp_path / "x.db", speed=0)
