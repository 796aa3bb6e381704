"""A console in a fresh clone: ready at once, and a minute after its start there is something to see everywhere."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page
from processes.children import Child, Nursery, nursery, until
from processes.over_http import store_of
from sqlalchemy import select

from browser.conftest import start_as_in_a_fresh_clone
from tracking.orders.model import State
from tracking.storage.tables import ORDERS

pytestmark = pytest.mark.browser

# Alone on a machine it takes 3 and 15 seconds; here other tests run beside it.
READY_SECONDS = 20
MINUTE = 90
YOUNG = 20
OUTCOMES = ("accepted", "repeated", "refused")
CHARTS = {
    "/": {
        "count_needs_decision", "count_late", "count_unconfirmed", "count_open", "count_completed", "flow_card",
        "lifecycle_card", "expectation_card", "times_card",
    },
    "/insights": {"detection_delay", "forecast_accuracy", "witness_agreement"},
}  # fmt: skip
# How many rows the table has at the least, the last of which the page shows without scrolling.
TEAM_ROWS = {"/audit": 10, "/jobs": 6}
# The cards that hold a chart whose marks have an extent: a bar of height 0 is none.
DRAWN = """cards => cards.filter(card => [...document.querySelectorAll(`.st-key-${card} :is(
    .barlayer path, .scatterlayer .points path, [data-testid=stMetricChart] .mark-rect path
)`)].some(mark => { const box = mark.getBoundingClientRect(); return box.width > 1 && box.height > 1 }))"""


@pytest.fixture(scope="module")
def first_start(first_start: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """The console that other tests share, unless it is too old to see its first minute."""
    if first_start.children[0].age < YOUNG:
        yield first_start
        return
    with nursery(tmp_path_factory.mktemp("minute")) as children:
        start_as_in_a_fresh_clone(children)
        yield children


@pytest.fixture(scope="module")
def console(first_start: Nursery) -> Child:
    """That console, once it answers."""
    return first_start.children[0].ready()


def rest_of_the_minute(console: Child) -> float:
    return MINUTE - console.age


def test_a_fresh_console_is_soon_ready(console: Child) -> None:
    assert console.ready_after is not None
    assert console.ready_after < READY_SECONDS


@pytest.mark.long
def test_a_minute_after_its_start_everything_has_something_to_show(
    page: Page, console: Child, first_start: Nursery
) -> None:
    has_orders_in_every_state(console, first_start.database_url)
    for address, cards in CHARTS.items():
        page.goto(address)
        until(
            f"content in each chart of {address}, among {sorted(cards)}",
            lambda cards=cards: set(page.evaluate(DRAWN, sorted(cards))) == cards,  # type: ignore[misc]  # the default binds the loop's value
            within=rest_of_the_minute(console),
        )
    for outcome in OUTCOMES:
        page.goto(f"/activity?what=callbacks&outcome={outcome}")
        rows = page.locator(".st-key-callbacks [role=grid] tbody tr")
        until(f"a webhook that was {outcome}", rows.count, within=rest_of_the_minute(console))
    shows_what_the_team_did(page, console)


def shows_what_the_team_did(page: Page, console: Child) -> None:
    """The pages of the team are as little empty as the others."""
    for address, rows in TEAM_ROWS.items():
        page.goto(address)
        row = page.locator(f"[role=grid] tbody tr:nth-child({rows})")
        until(f"{rows} rows of {address}", row.count, within=rest_of_the_minute(console))
    page.goto("/handover")
    for text in ("Reopened", "Job started", "until something changes"):
        until(f"{text} in the handover", page.get_by_text(text).count, within=rest_of_the_minute(console))


def has_orders_in_every_state(console: Child, database_url: str) -> None:
    """Waits until an order is in each state that has rules of its own, all at the same time."""
    with store_of(database_url) as store:

        def all_of_them() -> bool:
            with store.read() as connection:
                return set(State) <= set(connection.execute(select(ORDERS.c.state).distinct()).scalars())

        until("orders in every state", all_of_them, within=rest_of_the_minute(console), every=0.5)
