"""Orders and calls that fail on purpose, and a client that gets through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tracking.sandbox.faults import faults_of_order
from tracking.sandbox.scenarios import SCENARIOS

if TYPE_CHECKING:
    from sandbox.conftest import Desk


UNREACHABLE = {"access-disabled"}


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - UNREACHABLE))
def test_a_tolerant_client_gets_through_every_scenario(desk: Desk, name: str) -> None:
    sandbox = desk.start(name)
    outcomes = [desk.insist(f"po-{index}") for index in range(8)]
    assert "lost" not in outcomes
    truth = {order["po_number"]: order for order in sandbox.truth()}
    assert all((outcome == "refused") != (f"po-{index}" in truth) for index, outcome in enumerate(outcomes))
    if name == "insufficient-funds":
        assert 2 <= outcomes.count("refused") <= 6
    if name == "cancelled":
        desk.now += 10_000
        assert {order["status"] for order in sandbox.truth()} == {"Completed", "Cancelled"}


def test_the_same_seed_brings_the_same_faults(desk: Desk) -> None:
    def story(seed: int) -> list[str]:
        desk.path = desk.path.with_name(f"{seed}-{desk.now}.db")
        desk.start("insufficient-funds", seed=seed)
        return [desk.insist(f"po-{index}") for index in range(12)]

    assert story(1) == story(1)
    assert story(1) != story(2)


@pytest.mark.parametrize(
    ("word", "status", "count"),
    [
        ("timeout", 504, 1),
        ("timeout-before", 504, 0),
        ("error", 500, 1),
        ("error-before", 500, 0),
        ("disconnect", None, 1),
        ("disconnect-before", None, 0),
    ],
)
def test_a_post_fails_before_or_after_placing_at_most_twice(
    desk: Desk, word: str, status: int | None, count: int
) -> None:
    sandbox = desk.start()
    body = desk.order("po", note=f"[{word}]")
    first = desk.post_or_break(body)
    assert (first.status_code if first is not None else None) == status
    assert len(sandbox.truth()) == count
    later = [desk.post_or_break(body) for _ in range(2)]
    second_failed = later[0] is None or later[0].status_code >= 500
    assert later[-1] is not None
    assert later[-1].status_code == (201 if second_failed and not count else 409)
    (truth,) = sandbox.truth()
    assert truth["posts"] == 3


def test_a_slow_answer_comes_after_placing(desk: Desk) -> None:
    sandbox = desk.start(speed=3)
    assert desk.post(desk.order("po", note="[slow-answer]")).status_code == 201
    assert desk.slept == [15.0]
    assert len(sandbox.truth()) == 1


def test_a_retry_overtakes_a_post_that_is_slow_to_place(desk: Desk) -> None:
    sandbox, faults = desk.start("slow-placing"), SCENARIOS["slow-placing"].faults
    po_number = next(
        name for name in map(str, range(50)) if faults_of_order(faults, 0, name, "").post_failure != "none"
    )
    desk.login()

    async def both() -> list[int]:
        async with desk.client() as client:
            headers = {"Authorization": f"Bearer {desk.token}"}
            calls = [client.post("/v1/Orders", json=desk.order(po_number), headers=headers) for _ in range(4)]
            return sorted(response.status_code for response in await asyncio.gather(*calls))

    assert asyncio.run(both()) == [201, 409, 409, 409]
    assert desk.slept
    assert [order["po_number"] for order in sandbox.truth()].count(po_number) == 1
