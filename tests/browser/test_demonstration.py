"""What a person does in a demonstration, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

TYPES = {"Links": "Claim links", "DigitalDelivery": "By e-mail or text message", "PhysicalShipment": "Cards by post"}
ADDRESS = {
    "Name": "Ada Example",
    "AddressLine1": "1 Example Street",
    "City": "Springfield",
    "State": "IL",
    "Zip": "62701",
    "Country": "US",
}


def settled(page: Page) -> None:
    """Waits until the script of the page has run."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def fill(page: Page, key: str, text: str) -> None:
    field = page.locator(f".st-key-{key} input")
    field.fill(text)
    field.press("Tab")
    settled(page)


def order(page: Page, kind: str) -> str:
    """Submits a test order of this type through the form; its PONumber."""
    page.goto("/submit")
    page.locator(".st-key-order_type").get_by_text(TYPES[kind], exact=True).click()
    # The page shows what belongs to this type, which is more than that no script runs: none may have begun yet.
    expect(page.locator(".st-key-email")).to_have_count(int(kind == "DigitalDelivery"))
    settled(page)
    if kind == "DigitalDelivery":
        fill(page, "email", "ada@example.com")
    if kind == "PhysicalShipment":
        for name, text in ADDRESS.items():
            fill(page, f"address_{name}", text)
    page.get_by_role("button", name="Add line").click()
    expect(page.get_by_role("button", name="Review")).to_be_visible()
    scenario = page.locator(".st-key-scenario input")
    # An open list closes when the page scrolls: the scrolling comes first, and is over before the click.
    scenario.scroll_into_view_if_needed()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    scenario.click()
    page.get_by_role("option", name="instant", exact=True).click()
    expect(scenario).to_have_value("instant")
    settled(page)
    po_number = page.locator("code", has_text=re.compile(r"^FT-\d{8}-\w+$")).first.inner_text()
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Send order").click()
    expect(page.get_by_role("link", name="Watch its timeline")).to_have_attribute("href", re.compile(po_number))
    return po_number


@pytest.mark.parametrize(("kind", "width"), [("Links", 1280), ("DigitalDelivery", 390), ("PhysicalShipment", 1280)])
def test_a_test_order_becomes_completed_while_its_timeline_is_watched(page: Page, kind: str) -> None:
    po_number = order(page, kind)
    page.get_by_role("link", name="Watch its timeline").click()
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}"))
    expect(page.locator(".st-key-head")).to_contain_text("Completed", timeout=45_000)
    expect(page.locator(".st-key-story")).to_contain_text("completed", ignore_case=True)


def test_an_order_is_found_by_a_part_of_its_po_number_and_its_link_opens_in_a_new_tab(page: Page) -> None:
    po_number = order(page, "Links")
    page.goto(f"/orders?q={po_number[-6:].lower()}")
    expect(page.get_by_text("1 order", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(f"/timeline?order={po_number}")
    expect(other.locator("code", has_text=po_number).first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_by_its_address_and_says_that_this_is_a_sandbox(page: Page, width: int) -> None:
    for address in ("/", "/orders", "/timeline", "/submit", "/activity"):
        page.goto(address)
        settled(page)
        expect(page.get_by_text(re.compile("Sandbox: simulated provider"))).to_be_visible()
        expect(page.get_by_test_id("stException")).to_have_count(0)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{address} is wider than the screen"
