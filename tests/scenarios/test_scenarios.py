"""Every way the provider may behave: what it finishes becomes finished here, and nothing is placed twice."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from desk import Desk, Outcome, request
from virtual import VirtualLoop, run

from tracking.sandbox.scenarios import SCENARIOS
from tracking.storage import engines

FEW, ELSEWHERE = 3, 1  # one of each type of delivery
ORDERS = 9  # three of each, one of them of twelve lines
# What is said otherwise in every answer needs no more than an order of each type.
FORMATS = frozenset(
    {
        "bare-lists",
        "camel-case",
        "cost-null",
        "expires-in-minutes",
        "expires-in-negative",
        "expires-in-zero",
        "extra-fields",
        "fraction-timestamps",
        "no-balance",
        "offset-timestamps",
        "opaque-token",
        "string-numbers",
        "us-timestamps",
        "zulu-timestamps",
    }
)
NEVER_FINISHED = {"endless-pending": frozenset({"Pending"})}


def drive(folder: Path, scenario: str, here: int, elsewhere: int, *, url: str | None = None) -> Outcome:
    """Places so many orders here and elsewhere, and waits until nothing more happens."""
    if url:
        engines.migrate(url)

    async def main(loop: VirtualLoop) -> Outcome:
        desk = Desk(folder, scenario, loop, url=url)
        async with desk.open():
            await desk.submit([request(number, desk.rng) for number in range(here)])
            desk.sandbox.place_elsewhere(elsewhere)
            limit = timedelta(hours=3)
            return await desk.settle(limit, open_at_the_end=NEVER_FINISHED.get(scenario, frozenset()))

    return run(main)


WHOLE = sorted(set(SCENARIOS) - {"access-disabled", "unknown-line-status"})


@pytest.mark.parametrize(
    ("scenario", "here", "elsewhere"),
    [
        *(pytest.param(name, FEW, ELSEWHERE, id=name) for name in WHOLE),
        *(
            pytest.param(name, ORDERS, 3 * ELSEWHERE, id=f"{name}, more", marks=pytest.mark.long)
            for name in WHOLE
            if name not in FORMATS
        ),
    ],
)
def test_what_the_provider_finishes_becomes_finished_here(
    scenario: str, here: int, elsewhere: int, tmp_path: Path
) -> None:
    outcome = drive(tmp_path, scenario, here, elsewhere)
    assert outcome.problems == []
    assert sum(outcome.states.values()) >= here + elsewhere


def test_orders_whose_lines_show_an_unknown_word_ask_for_a_person_within_minutes(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> list[tuple[str, str | None]]:
        desk = Desk(tmp_path, "unknown-line-status", loop)
        async with desk.open():
            await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
            await desk.settle(timedelta(minutes=10))
            return [(row["state"], row["attention_reason"]) for row in desk.rows().values()]

    rows = run(main)
    assert {reason for state, reason in rows if state != "Completed"} == {"lines do not fit"}
    assert {reason for state, reason in rows if state == "Completed"} == {None}


def test_nothing_is_lost_while_the_account_is_disabled(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> tuple[Outcome, set[str], int]:
        desk = Desk(tmp_path, "access-disabled", loop)
        async with desk.open():
            await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
            await asyncio.sleep(200)
            meanwhile, calls = {row["state"] for row in desk.rows().values()}, desk.backend.calls
            desk.sandbox.switch_to("normal")
            return await desk.settle(timedelta(hours=3)), meanwhile, calls

    outcome, meanwhile, calls = run(main)
    assert meanwhile == {"Queued"}
    assert calls < 60, "a refused account must not be asked again and again"
    assert outcome.problems == []
    assert outcome.states == {"Completed": ORDERS}


def test_a_worker_that_is_stopped_and_started_again_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> Outcome:
        desk = Desk(tmp_path, "mixed-faults", loop, tick=2.0)
        async with desk.sandbox.running():
            await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
            for _ in range(8):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(desk.rng.uniform(0.1, 8)), desk.backend.lifespan(None):
                        await asyncio.sleep(60)
        async with desk.open():
            return await desk.settle(timedelta(hours=3))

    outcome = run(main)
    assert outcome.problems == []
    assert sum(outcome.states.values()) >= ORDERS, "the faults include orders that others place between two pages"


@pytest.mark.postgres
def test_the_same_holds_on_postgresql(new_postgres_url: Callable[[], str], tmp_path: Path) -> None:
    outcome = drive(tmp_path, "mixed-faults", ORDERS, 3 * ELSEWHERE, url=new_postgres_url())
    assert outcome.problems == []
