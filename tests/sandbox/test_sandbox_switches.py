from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from tracking.sandbox.faults import NOTE_WORDS, Faults, faults_of_order
from tracking.sandbox.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_every_switch_is_thrown_by_a_scenario() -> None:
    normal, sizes = Faults(), {"seconds_base", "seconds_per_unit", "outage_every", "slow_seconds"}
    blended = [part for scenario in SCENARIOS.values() for part in scenario.faults.blend]
    used = [scenario.faults for scenario in SCENARIOS.values()] + blended
    idle = [
        field.name
        for field in fields(Faults)
        if all(getattr(switches, field.name) == getattr(normal, field.name) for switches in used)
    ]
    assert set(idle) == sizes


def test_every_scenario_has_a_sentence_and_its_own_name() -> None:
    assert all(name == scenario.name and scenario.summary.endswith(".") for name, scenario in SCENARIOS.items())
    assert all(summary and not summary.endswith(".") for summary in NOTE_WORDS.values())


def _try(call: Callable[[], Any]) -> Any:
    """What a client gets: a response, or None where the connection broke."""
    try:
        return call()
    except ConnectionResetError:
        return None


def _json(response: Any) -> dict[str, Any]:
    """The object with its names in lower case, or nothing."""
    try:
        body = response.json()
    except (ValueError, AttributeError):
        return {}
    return {name.lower(): value for name, value in body.items()} if isinstance(body, dict) else {}


def _insist(desk: Desk, po_number: str) -> str:
    """POST as a tolerant client does until there is an answer; what became of it."""
    for _ in range(12):
        desk.now += 30
        response = _try(lambda: desk.post(desk.order(po_number, lines=2, Quantity=1)))
        if response is not None and response.status_code == 201 and "id" in _json(response):
            return "placed"
        if response is not None and response.status_code in {409, 422}:
            return "found" if response.status_code == 409 else "refused"
        if response is not None and response.status_code == 401:
            desk.token = ""
    return "lost"


UNREACHABLE = {"access-disabled"}


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - UNREACHABLE))
def test_a_tolerant_client_gets_through_every_scenario(desk: Desk, name: str) -> None:
    sandbox = desk.start(name)
    outcomes = [_insist(desk, f"po-{index}") for index in range(8)]
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
        return [_insist(desk, f"po-{index}") for index in range(12)]

    assert story(1) == story(1)
    assert story(1) != story(2)


@pytest.mark.parametrize(
    ("scenario", "keys"),
    [
        ("normal", {"PONumber", "PreviousOrderIds"}),
        ("conflict-single", {"PONumber", "OrderId"}),
        ("conflict-id", {"PONumber", "Id"}),
        ("conflict-several", {"PONumber", "PreviousOrderIds"}),
    ],
)
def test_a_409_names_the_order_under_several_keys(desk: Desk, scenario: str, keys: set[str]) -> None:
    desk.start("normal")
    order = desk.place("po")
    desk.start(scenario)
    body = desk.post(desk.order("po")).json()
    assert set(body) == keys
    ids = next(value for name, value in body.items() if name != "PONumber")
    assert order["Id"] in ids
    assert (len(ids) == 2) == (scenario == "conflict-several")


def test_a_409_may_have_no_body(desk: Desk) -> None:
    desk.start("normal")
    desk.place("po")
    desk.start("conflict-empty")
    response = desk.post(desk.order("po"))
    assert (response.status_code, response.content) == (409, b"")


def test_a_mismatch_finds_the_ponumber_taken_by_other_contents(desk: Desk) -> None:
    sandbox = desk.start()
    response = desk.post(desk.order("po", note="[mismatch]"))
    assert response.status_code == 409
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["source"], truth["units"]) == (response.json()["PreviousOrderIds"][0], "elsewhere", 2)


def test_a_strict_provider_compares_contents(desk: Desk) -> None:
    desk.start("conflict-strict")
    assert _insist(desk, "po") in {"placed", "found"}
    assert desk.post(desk.order("po", lines=2)).status_code == 409
    assert desk.post(desk.order("po", lines=3)).status_code == 400


def test_a_refusal_may_use_the_ponumber_up(desk: Desk) -> None:
    sandbox = desk.start("refusal-uses-up")
    body = desk.order("po", note="[insufficient-funds]")
    assert desk.post(body).status_code == 422
    again = desk.post(body)
    assert (again.status_code, again.json()["PreviousOrderIds"]) == (409, [])
    assert sandbox.truth() == []


def test_pages_shift_when_another_system_orders_between_them(desk: Desk) -> None:
    sandbox = desk.start("shifting-pages")
    for index in range(8):
        desk.now += 1
        desk.place(f"po-{index}")
    pages = [desk.get("Orders", pageIndex=index).json()["Data"] for index in (1, 2)]
    numbers = [order["PONumber"] for page in pages for order in page]
    assert len(numbers) > len(set(numbers))
    assert len(sandbox.truth()) == 9


def test_the_list_varies_as_the_switches_say(desk: Desk) -> None:
    desk.start("oldest-first")
    desk.place("demo-1")
    desk.now += 1
    desk.place("demo-10")
    assert [order["PONumber"] for order in desk.get("Orders").json()["Data"]] == ["demo-1", "demo-10"]
    desk.start("bare-lists")
    assert set(desk.get("Orders").json()) == {"Data"}
    desk.start("loose-filters")
    assert len(desk.get("Orders", poNumber="demo-1").json()["Data"]) == 2
    assert len(desk.get("Orders", startDate="2027-01-15T08:00:00").json()["Data"]) == 1
    desk.start("list-without-claims")
    order = desk.get("Orders").json()["Data"][0]
    assert order["LineItems"][0]["ClaimData"] is None
    assert desk.show(order)["LineItems"][0]["ClaimData"]


def test_a_new_order_may_be_invisible_at_first(desk: Desk) -> None:
    desk.start("late-visible")
    order = desk.place("po")
    assert desk.get(f"Orders/{order['Id']}").status_code == 404
    assert desk.get("Orders", poNumber="po").json()["Data"] == []
    assert desk.show(order, after=6)["PONumber"] == "po"


def _words(desk: Desk, order: dict[str, Any]) -> list[str]:
    """The statuses an order passes through."""
    seen = [order["Status"]]
    for _ in range(120):
        status = desk.show(order, after=1)["Status"]
        if status != seen[-1]:
            seen.append(status)
    return seen


@pytest.mark.parametrize(
    ("note", "words"),
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
def test_words_in_the_note_choose_the_course(desk: Desk, note: str, words: list[str]) -> None:
    desk.start()
    assert _words(desk, desk.place("po", kind="DigitalDelivery", note=note)) == words


def test_late_and_short_claims_become_full(desk: Desk) -> None:
    desk.start()
    late = desk.place("late", note="[late-claims]", Quantity=2)
    short = desk.place("short", note="[short-claims]", Quantity=2)
    assert (late["Status"], late["LineItems"][0]["ClaimData"]) == ("Completed", None)
    assert (short["Status"], len(short["LineItems"][0]["ClaimData"])) == ("Completed", 1)
    assert len(desk.show(late, after=120)["LineItems"][0]["ClaimData"]) == 2
    assert len(desk.show(short)["LineItems"][0]["ClaimData"]) == 2


def test_claims_rotate_only_where_asked_for(desk: Desk) -> None:
    desk.start()
    steady, rotating = desk.place("a"), desk.place("b", note="[rotating-claims]")
    assert desk.show(steady)["LineItems"] == steady["LineItems"]
    first, second = desk.show(rotating)["LineItems"], desk.show(rotating)["LineItems"]
    assert first[0]["ClaimData"][0]["ClaimLink"] != second[0]["ClaimData"][0]["ClaimLink"]
    assert first[0]["ClaimData"][0]["Id"] == second[0]["ClaimData"][0]["Id"]


def test_a_quantity_above_one_may_be_refused(desk: Desk) -> None:
    desk.start("single-quantity")
    assert desk.post(desk.order("a", Quantity=2)).status_code == 400
    assert desk.post(desk.order("b", Quantity=1)).status_code == 201
    assert desk.post(desk.order("c", kind="PhysicalShipment", Quantity=2)).status_code == 201


@pytest.mark.parametrize(("scenario", "status"), [("max-lines", 400), ("too-large", 413)])
def test_orders_above_the_limit_are_refused(desk: Desk, scenario: str, status: int) -> None:
    desk.start(scenario)
    assert desk.post(desk.order("a", lines=51)).status_code == status
    assert desk.post(desk.order("b", lines=50)).status_code == 201


@pytest.mark.parametrize(
    ("word", "status", "placed"),
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
    desk: Desk, word: str, status: int | None, placed: int
) -> None:
    sandbox = desk.start()
    body = desk.order("po", note=f"[{word}]")
    first = _try(lambda: desk.post(body))
    assert (first.status_code if first is not None else None) == status
    assert len(sandbox.truth()) == placed
    later = [_try(lambda: desk.post(body)) for _ in range(2)]
    second_failed = later[0] is None or later[0].status_code >= 500
    assert later[-1].status_code == (201 if second_failed and not placed else 409)
    (truth,) = sandbox.truth()
    assert truth["posts"] == 3


def test_a_slow_answer_comes_after_placing(desk: Desk) -> None:
    sandbox = desk.start(speed=3)
    assert desk.post(desk.order("po", note="[slow-answer]")).status_code == 201
    assert desk.slept == [15.0]
    assert len(sandbox.truth()) == 1


def test_a_retry_overtakes_a_post_that_is_slow_to_place(desk: Desk) -> None:
    sandbox, switches = desk.start("slow-placing"), SCENARIOS["slow-placing"].faults
    po_number = next(
        name for name in map(str, range(50)) if faults_of_order(switches, 0, name, "").post_failure != "none"
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


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("answers-")])
def test_every_fourth_get_is_spoiled(desk: Desk, scenario: str) -> None:
    desk.start("normal")
    order = desk.place("po")
    desk.start(scenario)
    answers = [desk.get(f"Orders/{order['Id']}") for _ in range(5)]
    assert [response.status_code for response in answers] == [200] * 5
    good = [_json(response).get("id") == order["Id"] and "status" in _json(response) for response in answers]
    assert good == [True, True, True, False, True]


def test_scenarios_are_values(desk: Desk) -> None:
    assert isinstance(SCENARIOS["normal"], Scenario)
    assert SCENARIOS["normal"].faults == Faults()
