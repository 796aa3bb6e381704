"""What people do most often, from the overview, in as few clicks as promised, by mouse and by keyboard alone."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from processes.children import Child, Nursery, until
from processes.over_http import store_of
from sqlalchemy import ColumnElement, func, select

from browser.hands import Hands, go, settled
from tracking.orders.model import State
from tracking.reports.evidence.verification import verify_file
from tracking.storage.database import Database
from tracking.storage.tables import LINES, ORDERS

pytestmark = pytest.mark.browser

FOLD = 800
ON_OVERVIEW = ("verdict", "counts_grid", "health", "counts", "decisions_card")
NAME = "Ann Example"
UNDECIDED = ORDERS.c.attention.is_not(None) & ORDERS.c.acknowledged_at.is_(None)
# Of others' orders the end is a number that counts, as in many an id.
COMPLETED_HERE = (ORDERS.c.state == State.COMPLETED, ORDERS.c.po_number.startswith("FT-"))
ORDER_PAGE = re.compile(r"/timeline\?order=")


@pytest.fixture(scope="module")
def store(first_start: Nursery, console: Child) -> Iterator[Database]:
    """The store of the demonstration, once its week is over and there is what each task needs."""
    with store_of(first_start.database_url) as opened:
        until("something late", lambda: po_numbers(opened, ORDERS.c.late_at < datetime.now(UTC)), within=90)
        until("an order of ours that is completed", lambda: po_numbers(opened, *COMPLETED_HERE), within=90)
        until("a decision", lambda: po_numbers(opened, ORDERS.c.state != State.REFUSED, UNDECIDED), within=90)
        yield opened


@pytest.fixture(scope="module")
def window(context: BrowserContext, store: Database) -> Iterator[Page]:
    """One window for all tasks, once there is something to do, in which somebody has said who they are."""
    assert store
    opened = context.new_page()
    opened.set_viewport_size({"width": 1280, "height": FOLD})
    opened.goto("/")
    opened.locator(".st-key-who button").first.click()
    opened.locator(".st-key-name_of_who_acts input").fill(NAME)
    opened.get_by_role("button", name="Save").click()
    expect(opened.locator(".st-key-who")).to_contain_text(NAME)
    opened.keyboard.press("Escape")
    expect(opened.get_by_role("dialog")).to_have_count(0)  # the first task may be one that begins on this very page
    yield opened
    opened.close()


@pytest.fixture(params=[pytest.param(False, id="mouse", marks=pytest.mark.long), pytest.param(True, id="keyboard")])
def hands_anywhere(request: pytest.FixtureRequest, window: Page) -> Hands:
    """Somebody who looks at whatever was opened last."""
    return Hands(window, keyboard=request.param)


@pytest.fixture
def hands(hands_anywhere: Hands) -> Hands:
    """Somebody who looks at the overview."""
    go_to_overview(hands_anywhere.page)
    return hands_anywhere


def go_to_overview(page: Page) -> None:
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    for key in ON_OVERVIEW:
        expect(page.locator(f".st-key-{key}").first).to_be_visible()
    settled(page)


def po_numbers(store: Database, *conditions: ColumnElement[bool]) -> list[str]:
    """The PONumber of the newest order of which this is so; none where there is no such order."""
    with store.read() as connection:
        newest = select(ORDERS.c.po_number).where(*conditions).order_by(ORDERS.c.id.desc()).limit(1)
        return list(connection.execute(newest).scalars())


def opens(page: Page, po_number: str) -> None:
    """Waits for the page of this order."""
    expect(page).to_have_url(re.compile(rf"/timeline\?order={po_number}\b"))
    expect(page.locator("code", has_text=po_number).first).to_be_visible()
    settled(page)


def test_whether_anything_is_wrong_is_seen_without_a_click(window: Page) -> None:
    go_to_overview(window)
    for key in ON_OVERVIEW:
        box = window.locator(f".st-key-{key}").first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= FOLD, f"{key} is below the fold"
    expect(window.locator(".st-key-verdict")).to_contain_text(re.compile(r"\d+ orders? needs? a decision"))
    expect(window.locator(".st-key-health")).to_contain_text(re.compile("healthy|degraded|attention|down"))


def test_the_first_order_that_needs_a_decision_opens_with_one_click(hands: Hands) -> None:
    hands.press(hands.page.locator(".st-key-decisions_card").get_by_role("link", name=re.compile("^oldest")).first)
    expect(hands.page).to_have_url(ORDER_PAGE)
    assert hands.clicks == 1


def test_an_order_is_found_by_its_id_and_by_a_part_of_it_and_by_an_e_mail(
    hands_anywhere: Hands, store: Database
) -> None:
    """By what stands above each page."""
    hands = hands_anywhere
    [po_number] = po_numbers(store, *COMPLETED_HERE)
    for text, found in ((po_number, po_number), (po_number[-6:].lower(), po_number), by_mail(store)):
        hands.clicks = 0
        search(hands, text)
        opens(hands.page, found)
        assert hands.clicks == 1


def by_mail(store: Database) -> tuple[str, str]:
    """A recipient of one order alone, and its PONumber."""
    alone = select(LINES.c.recipient_key).group_by(LINES.c.recipient_key).having(func.count() == 1)
    of_order = select(LINES.c.recipient, ORDERS.c.po_number).join_from(LINES, ORDERS, LINES.c.order_id == ORDERS.c.id)
    with store.read() as connection:
        found = of_order.where(LINES.c.recipient.contains("@"), LINES.c.recipient_key.in_(alone)).limit(1)
        mail, po_number = connection.execute(found).one()
    return mail, po_number


def search(hands: Hands, text: str) -> None:
    """By the field above each page; by keyboard through its shortcut."""
    page = hands.page
    if not hands.keyboard:
        field = page.locator(".st-key-find input")
        hands.press(field)
        hands.enter(text, field)
        return
    hands.shortcut("Control+k", page.locator(".st-key-open_search").get_by_role("button"))
    hands.enter(text, page.locator(".st-key-find_in_dialog input"))
    expect(page.get_by_role("dialog")).to_have_count(0)  # the address is the same where the same order was open


@pytest.mark.long
def test_what_is_late_is_exported_with_three_clicks(hands: Hands) -> None:
    page = hands.page
    hands.press(page.locator(".st-key-counts").get_by_role("link", name=re.compile("late")))
    expect(page).to_have_url(re.compile(r"/orders\?view=late"))
    expect(page.locator(".st-key-orders_table canvas").first).to_be_visible()
    settled(page)
    hands.press(page.locator(".st-key-export button").first)
    with page.expect_download() as download:
        hands.press(page.locator(".st-key-export_csv button"))
    assert len(download.value.path().read_text().splitlines()) > 1
    assert hands.clicks == 3


@pytest.mark.long
def test_a_test_order_is_placed_with_three_clicks(hands: Hands) -> None:
    page = hands.page
    hands.press(page.get_by_role("navigation").get_by_role("link", name="New order"))
    expect(page.get_by_role("button", name="Review")).to_be_enabled()
    settled(page)
    hands.press(page.get_by_role("button", name="Review"))
    hands.press(page.get_by_role("dialog").get_by_role("button", name="Send 1 card"))
    expect(page).to_have_url(re.compile(r"/timeline\?order=FT-"))
    assert hands.clicks == 3


@pytest.mark.long
def test_a_file_is_uploaded_and_followed_to_its_outcome_file(window: Page) -> None:
    rows = "".join(f"W-{number:02d},Links,CVS,10,1\n" for number in range(60))
    file = f"PONumber,Type,ProductId,Value,Quantity\n{rows}".encode()
    go_to_overview(window)
    window.get_by_role("navigation").get_by_role("link", name="New order").click()
    window.get_by_text("CSV file", exact=True).click()
    window.locator("input[type=file]").set_input_files({"name": "wave.csv", "mimeType": "text/csv", "buffer": file})
    window.get_by_role("button", name=re.compile("Send 60 orders")).click()
    expect(window).to_have_url(re.compile(r"/imports\?import=\d+"))
    expect(window.get_by_text("60 of 60 orders of the file processed")).to_be_visible()
    window.reload()
    expect(window.get_by_text("60 of 60 orders of the file processed")).to_be_visible()
    settled(window)
    with window.expect_download() as download:
        window.get_by_role("button", name="Outcome file").click()
    assert len(download.value.path().read_text().splitlines()) == 61


def test_an_order_is_polled_with_one_click_and_acknowledged_with_two(hands_anywhere: Hands, store: Database) -> None:
    """Each by its button or by its key, on the page of an order that needs a decision."""
    hands = hands_anywhere
    page = hands.page
    [po_number] = po_numbers(store, ORDERS.c.state != State.REFUSED, UNDECIDED)
    go(page, f"/timeline?order={po_number}")
    opens(page, po_number)
    hands.shortcut("p", page.locator(".st-key-check_now").get_by_role("button"))
    expect(page.get_by_test_id("stToast")).to_contain_text("Poll queued.")
    assert hands.clicks == 1

    settled(page)
    hands.clicks = 0
    hands.shortcut("a", page.locator(".st-key-acknowledge").get_by_role("button"))
    hands.press(page.get_by_role("dialog").get_by_role("button", name="Customer informed"))
    expect(page.get_by_test_id("stToast").last).to_contain_text("Acknowledged.")
    assert hands.clicks == 2
    assert po_numbers(store, ORDERS.c.po_number == po_number, UNDECIDED) == []
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text(f"Acknowledged by {NAME}").first).to_be_visible()


@pytest.mark.long
def test_a_failed_call_is_opened_with_three_clicks(hands: Hands) -> None:
    page = hands.page
    hands.press(page.get_by_role("navigation").get_by_role("link", name="Logs"))
    hands.press(page.locator(".st-key-failed_calls").get_by_role("button"))
    expect(page).to_have_url(re.compile("failed=true"))
    settled(page)
    hands.open_row(page.locator(".st-key-calls"), 0, across=64)
    dialog = page.get_by_role("dialog")
    for text in ("Request", "Answer", "Copy as curl"):
        expect(dialog.get_by_role("heading", name=text)).to_be_visible()
    assert hands.clicks == 3
    page.keyboard.press("Escape")


@pytest.mark.long
def test_an_order_is_handed_on_as_evidence_and_shown_as_of_earlier_from_which_back_leads_to_now(
    window: Page, store: Database
) -> None:
    [po_number] = po_numbers(store, ORDERS.c.state == State.COMPLETED)
    window.goto(f"/timeline?order={po_number}")
    more, band = window.locator(".st-key-more button").first, window.locator(".st-key-as_of_band")
    more.click()
    window.get_by_text("Evidence file").click()
    with window.expect_download() as download:
        window.locator(".st-key-evidence_file button").click()
    assert download.value.suggested_filename == f"evidence-{po_number}.zip"
    result = verify_file(download.value.path())
    assert (result.differences, result.caveats) == ((), ())
    assert result.manifest
    assert (result.manifest["order"]["po_number"], result.manifest["made_by"]) == (po_number, NAME)
    window.get_by_role("button", name="Close").click()
    for opener in (more, None):
        if opener is None:
            go_to_overview(window)
            window.locator(".st-key-as_of button").first.click()
        else:
            opener.click()
            window.get_by_text("As of ...", exact=True).click()
        window.locator(".st-key-as_of_show button").click()
        expect(band).to_contain_text("Nothing can be done here.")
        expect(window).to_have_url(re.compile("as_of=20"))
        window.go_back()
        expect(band).to_have_count(0)
        expect(window).not_to_have_url(re.compile("as_of="))
