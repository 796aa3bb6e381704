"""What a person does in a demonstration, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from browser.hands import go, settled

pytestmark = pytest.mark.browser

TYPES = {"Links": "Claim links", "PhysicalShipment": "Cards by post"}
ADDRESS = {
    "Name": "Ada Example",
    "AddressLine1": "1 Example Street",
    "City": "Springfield",
    "State": "IL",
    "Zip": "62701",
    "Country": "US",
}


@pytest.fixture(scope="module")
def window(context: BrowserContext) -> Iterator[Page]:
    """One window for what is done one after the other."""
    opened = context.new_page()
    opened.goto("/orders")
    yield opened
    opened.close()


@pytest.fixture
def page(window: Page, width: int) -> Page:
    """That window, so wide."""
    window.set_viewport_size({"width": width, "height": 900})
    return window


def fill(page: Page, key: str, text: str) -> None:
    field = page.locator(f".st-key-{key} input")
    field.fill(text)
    field.press("Tab")
    settled(page)


def order(page: Page, kind: str) -> str:
    """Sends a test order of this type through the form, and lands on its page; its PO number."""
    go(page, "/submit")
    page.locator(".st-key-order_type").get_by_text(TYPES[kind], exact=True).click()
    # The page shows what belongs to this type, which is more than that no script runs: none may have begun yet.
    expect(page.locator(".st-key-address_Name")).to_have_count(int(kind == "PhysicalShipment"))
    settled(page)
    if kind == "PhysicalShipment":
        for name, text in ADDRESS.items():
            fill(page, f"address_{name}", text)
        page.locator(".st-key-pictures").scroll_into_view_if_needed()
        expect(page.get_by_role("button", name="Review")).to_be_in_viewport()
    page.locator(".st-key-scenario").get_by_text("More", exact=True).click()
    expect(page.locator(".st-key-other_scenario input")).to_have_value(re.compile("^Instant: the order is complete"))
    settled(page)
    po_number = page.locator("code", has_text=re.compile(r"^FT-\d{8}-\w+$")).first.inner_text()
    page.get_by_role("button", name="Review").click()
    review = page.get_by_role("dialog")
    expect(review).to_contain_text(ADDRESS["Name"] if kind == "PhysicalShipment" else "Claim links")
    review.get_by_role("button", name=re.compile("^Send 1 card, .* USD$")).click()
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}"))
    return po_number


@pytest.mark.parametrize(
    ("kind", "width"), [pytest.param("Links", 390, marks=pytest.mark.long), ("PhysicalShipment", 1280)]
)
def test_a_test_order_becomes_completed_while_its_timeline_is_watched(page: Page, kind: str) -> None:
    po_number = order(page, kind)
    expect(page.get_by_test_id("stToast")).to_contain_text("Order queued. It will be sent even if you close this page.")
    expect(page.locator(".st-key-verdict")).to_contain_text("Completed", timeout=45_000)
    expect(page.locator(".st-key-story")).to_contain_text("completed", ignore_case=True)
    is_found_by_a_part_of_its_po_number(page, po_number)


def is_found_by_a_part_of_its_po_number(page: Page, po_number: str) -> None:
    """And its link opens in a new tab."""
    go(page, f"/orders?q={po_number[-6:].lower()}")
    expect(page.get_by_text("1 order", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(f"/timeline?order={po_number}")
    expect(other.locator("code", has_text=po_number).first).to_be_visible()
    other.close()


def orders_grid(page: Page) -> Locator:
    """The table of orders, once it is drawn."""
    page.goto("/orders")
    grid = page.locator(".st-key-orders_table canvas").first
    expect(grid).to_be_visible()
    settled(page)
    return grid


def focused(page: Page) -> str:
    """The text of what has the focus; of a cell of the table, "grid"."""
    script = "(each => each.closest('canvas') ? 'grid' : each.innerText || '')(document.activeElement)"
    return str(page.evaluate(script))


def tab_to(page: Page, text: str, key: str) -> None:
    for _ in range(60):
        page.keyboard.press(key)
        if text in focused(page):
            return
    pytest.fail(f"{text} is out of reach of the keyboard")


@pytest.mark.long
def test_a_table_is_used_by_keyboard_and_an_order_is_opened_by_an_act_of_its_own(page: Page) -> None:
    orders_grid(page)
    tab_to(page, "grid", "Tab")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
        assert (focused(page), page.url.rpartition("/")[2]) == ("grid", "orders")
    page.keyboard.press("Shift+Space")
    bar = page.locator(".st-key-selection")
    expect(bar).to_contain_text("1 selected")
    settled(page)
    po_number = bar.locator("code").first.inner_text()
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}&list="))
    settled(page)
    page.go_back()
    expect(page).to_have_url(re.compile(r"/orders"))
    expect(page.locator(".st-key-orders_table canvas").first).to_be_visible()


@pytest.mark.long
def test_a_header_sorts_the_whole_list_and_the_table_has_no_scroller_of_its_own(page: Page) -> None:
    grid = orders_grid(page)
    scroller = page.locator(".st-key-orders_table .dvn-scroller")
    assert scroller.evaluate("each => each.scrollHeight - each.clientHeight") <= 2
    for address in (r"/orders\?sort=po(\+|%20)number$", r"/orders\?sort=po(\+|%20)number&asc=true$"):
        box = grid.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 180, box["y"] + 15)  # the head of the PO numbers, after that of the states
        expect(page).to_have_url(re.compile(address))
        settled(page)
    page.go_back()
    expect(page).to_have_url(re.compile(r"/orders\?sort=po(\+|%20)number$"))
    expect(page.locator(".st-key-direction")).to_contain_text("Descending")


def click_on_chart(page: Page, key: str) -> None:
    """A chart takes a click for the point whose label it shows; it may be drawn anew while the mouse comes."""
    label = page.locator(f".st-key-{key} .hoverlayer text").first
    for _ in range(20):
        box = page.locator(f".st-key-{key} .main-svg").first.bounding_box()
        if box is not None:
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15
            page.mouse.move(x - 3, y)
            page.mouse.move(x, y)
            page.wait_for_timeout(300)
            if label.count():
                page.mouse.click(x, y)
                return
    pytest.fail(f"the chart {key} shows no label")


def test_the_overview_fits_one_screen_and_a_click_on_a_chart_leads_to_its_orders(page: Page) -> None:
    page.set_viewport_size({"width": 1680, "height": 1000})
    go(page, "/")
    expect(page.locator("[class*='st-key-times_'] .main-svg").first).to_be_attached()
    settled(page)
    assert page.get_by_test_id("stMain").evaluate("each => each.scrollHeight - each.clientHeight") <= 0
    click_on_chart(page, "lifecycle_card")
    expect(page).to_have_url(re.compile(r"/orders\?.*state="))
