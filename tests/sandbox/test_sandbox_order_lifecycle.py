"""The statuses of orders and lines over time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_larger_order_is_pending_then_in_work_line_by_line_then_complete(desk: Desk) -> None:
    desk.start()
    order = desk.place("bulk", lines=100)
    assert order["Status"] == "Pending"
    assert {line["Status"] for line in order["LineItems"]} == {"Pending"}
    steps: list[tuple[str, int]] = []
    while not steps or steps[-1][0] != "Completed":
        current = desk.read(order, after=10)
        steps.append((current["Status"], sum(bool(line["ClaimData"]) for line in current["LineItems"])))
    assert ("Processing", 0) in steps
    assert any(status == "Processing" and 0 < done < 100 for status, done in steps)
    assert steps == sorted(steps, key=lambda step: step[1])
    assert steps[-1] == ("Completed", 100)


def test_larger_orders_take_longer_and_speed_divides_the_time(desk: Desk) -> None:
    def typical(lines: int, speed: float) -> float:
        desk.path = desk.path.with_name(f"{lines}-{speed}.db")
        desk.now = 1_800_000_000.0
        desk.start(speed=speed)
        for index in range(9):
            desk.place(f"po-{index}", lines=lines)
        begun = desk.now
        desk.now += 1e6
        assert desk.sandbox is not None
        ended = sorted(datetime.fromisoformat(order["completed_at"]) for order in desk.sandbox.truth())
        return ended[4].timestamp() - begun

    small, large, fast = typical(10, 1), typical(200, 1), typical(10, 10)
    assert 20 < small < 100
    assert large > 4 * small
    assert fast == pytest.approx(small / 10, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Links", ["Pending", "Completed", "Claimed"]),
        ("Codes", ["Pending", "Completed", "Claimed"]),
        ("DigitalDelivery", ["Pending", "Sent", "Claimed"]),
        ("PhysicalShipment", ["Pending", "SentToFulfillment", "Shipped"]),
    ],
)
def test_lines_have_their_own_machine_and_go_on_after_the_order(desk: Desk, kind: str, path: list[str]) -> None:
    desk.start()
    order = desk.place("po", kind=kind, lines=10)
    reached: dict[str, None] = {}
    at_completion: set[str] = set()
    for _ in range(80):
        current = desk.read(order, after=5 if not at_completion else 3600)
        statuses = [line["Status"] for line in current["LineItems"]]
        reached.update(dict.fromkeys(reversed(statuses)))
        if current["Status"] == "Completed" and not at_completion:
            at_completion = set(statuses)
    assert set(reached) == set(path)
    assert at_completion == {path[1]}


def test_a_delivery_date_ahead_is_waited_for(desk: Desk) -> None:
    desk.start()
    personalization = {"To": "Ada", "FromName": "Ben", "DeliveryDate": "2027-01-18T08:00:00Z"}
    order = desk.place("po", kind="DigitalDelivery", Personalization=personalization)
    before = desk.read(order, after=2 * 86_400)
    assert (before["Status"], before["LineItems"][0]["Status"]) == ("Processing", "Pending")
    after = desk.read(order, after=86_400)
    assert after["Status"] == "Completed"
    assert after["LineItems"][0]["Status"] in {"Sent", "Claimed"}


def _statuses(desk: Desk, order: dict[str, Any]) -> list[str]:
    """The statuses an order passes through."""
    statuses = [order["Status"]]
    for _ in range(120):
        status = desk.read(order, after=1)["Status"]
        if status != statuses[-1]:
            statuses.append(status)
    return statuses


@pytest.mark.parametrize(
    ("note", "statuses"),
    [
        ("[UNKNOWN-STATUS] please", ["Pending", "InReview", "Processing", "Completed"]),
        ("[approval]", ["Pending", "AwaitingApproval", "Processing", "Completed"]),
        ("[cancelled]", ["Pending", "Processing", "Cancelled"]),
        ("[never]", ["Pending"]),
        ("[regress]", ["Pending", "Processing", "Completed", "Processing", "Completed"]),
        ("[instant]", ["Completed"]),
        ("[slow]", ["Pending", "Processing"]),
        ("[nonsense]", ["Pending", "Processing", "Completed"]),
    ],
)
def test_words_in_the_note_choose_the_lifecycle(desk: Desk, note: str, statuses: list[str]) -> None:
    desk.start()
    assert _statuses(desk, desk.place("po", kind="DigitalDelivery", note=note)) == statuses
