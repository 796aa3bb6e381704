"""What somebody is about to do survives what happens meanwhile, and Back and reload bring back where they were."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect
from processes.children import Nursery, until
from processes.over_http import store_of, submit
from sqlalchemy import select

from browser.hands import settled
from tracking.access import Person
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions import actions
from tracking.submissions.requests import read_request
from tracking.submissions.submit import new_po_number

pytestmark = pytest.mark.browser

SOMEBODY_ELSE = Person("Ben Example")
LINE = {"ProductId": "CVS", "Value": 10, "Quantity": 1, "ExternalId": "row-1"}
SECOND_PAGE = re.compile(r"/orders\?sort=value&page=2$")


@pytest.fixture(scope="module")
def store(first_start: Nursery) -> Iterator[Database]:
    with store_of(first_start.database_url) as opened:
        yield opened


def select_first_row(page: Page) -> str:
    """Selects the first order of the list by keyboard; its PONumber."""
    grid = page.locator(".st-key-orders_table canvas").first
    expect(grid).to_be_visible()
    settled(page)
    grid.focus()
    page.keyboard.press("Shift+Space")
    bar = page.locator(".st-key-selection")
    expect(bar).to_contain_text("1 selected")
    return bar.locator("code").first.inner_text()


def cells(page: Page) -> Locator:
    """The rows of the list, as a screen reader has them."""
    return page.locator(".st-key-orders_table [role=grid] tbody tr")


@pytest.mark.long
def test_a_half_typed_note_survives_that_the_order_moves_on(page: Page, store: Database) -> None:
    needs_decision = ORDERS.c.attention.is_not(None) & ORDERS.c.acknowledged_at.is_(None)

    def one() -> str | None:
        with store.read() as connection:
            return connection.execute(select(ORDERS.c.po_number).where(needs_decision).limit(1)).scalar()

    po_number = until("an order that needs a decision", one, within=60)
    page.goto(f"/timeline?order={po_number}")
    page.locator(".st-key-note").get_by_role("button").click()
    field = page.get_by_role("dialog").get_by_label("Note")
    field.press_sequentially("half a sen")
    actions.acknowledge(store, po_number, by=SOMEBODY_ELSE, now=datetime.now(UTC), why="Customer informed")
    expect(page.locator(".st-key-witnesses")).to_contain_text("acknowledged")
    settled(page)
    expect(field).to_be_focused()
    page.keyboard.type("tence")
    expect(field).to_have_value("half a sentence")
    page.keyboard.press("Escape")
    expect(page.get_by_text(f"Acknowledged by {SOMEBODY_ELSE.name}").first).to_be_visible()


@pytest.mark.long
def test_selected_rows_and_a_half_typed_filter_survive_news(page: Page, store: Database) -> None:
    page.goto("/orders")
    po_number = select_first_row(page)
    page.locator(".st-key-filters").get_by_role("button").click()
    field = page.get_by_label("Text in any ID or recipient")
    field.press_sequentially("half a na")
    now = datetime.now(UTC)
    order = {"Type": "Links", "PONumber": new_po_number(now, random.Random()), "LineItems": [LINE]}
    submit(store, [read_request(order)])
    expect(page.locator(".st-key-show_new")).to_be_visible()
    settled(page)
    expect(field).to_have_value("half a na")
    page.keyboard.type("me")
    expect(field).to_have_value("half a name")
    expect(page.locator(".st-key-selection")).to_contain_text("1 selected")
    expect(page.locator(".st-key-selection code").first).to_have_text(po_number)


@pytest.mark.long
def test_back_and_reload_bring_back_the_filter_the_page_and_the_row_that_was_opened(page: Page) -> None:
    page.goto("/orders?sort=value&page=2")
    po_number = select_first_row(page)
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}&list="))
    settled(page)
    page.go_back()
    expect(page).to_have_url(SECOND_PAGE)
    expect(cells(page).filter(has_text=po_number)).to_contain_text("Last opened")
    page.reload()
    expect(cells(page).filter(has_text=po_number)).to_have_count(1)
    expect(page).to_have_url(SECOND_PAGE)


@pytest.mark.long
def test_a_link_to_the_page_that_is_open_is_in_the_address_too(page: Page) -> None:
    page.goto("/orders?sort=value")
    counts = page.locator(".st-key-counts")
    counts.get_by_role("link", name=re.compile("late")).click()
    expect(page).to_have_url(re.compile(r"/orders\?view=late&each=true$"))
    counts.get_by_role("link", name=re.compile("decision")).click()
    expect(page).to_have_url(re.compile(r"/orders\?view=attention$"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"/orders\?view=late&each=true$"))
    page.reload()
    expect(page.locator(".st-key-filter_view").get_by_role("radio", checked=True)).to_contain_text("Late")
    po_number = select_first_row(page)
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}&list="))
    settled(page)
    page.locator(".st-key-way").get_by_role("link", name="Next").click()
    expect(page).not_to_have_url(re.compile(rf"order={po_number}&"))
    page.go_back()
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}&list="))
    expect(page.locator("code", has_text=po_number).first).to_be_visible()
