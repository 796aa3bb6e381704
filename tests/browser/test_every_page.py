"""What holds of every page: readable for everyone, by day and by night, on a phone, and steady under the reader."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from browser.hands import settled

pytestmark = pytest.mark.browser

PAGES = {
    "overview": "/",
    "orders": "/orders",
    "order": "/",  # and from there to the first order that it leads to
    "new order": "/submit",
    "logs": "/activity?what=calls",
    "insights": "/insights",
    "audit": "/audit",
    "jobs": "/jobs",
    "handover": "/handover",
    "alerts": "/alerts",
    "hooks": "/hooks",
    "tokens": "/tokens",
    "fire drill": "/drills",
    "imports": "/imports",
    "import": "/imports?import=1",
}
# What the framework draws and no page can change: the rule, what of it is excused, and why.
OF_THE_FRAMEWORK: dict[str, tuple[str, str]] = {
    "empty-table-header": ('aria-colindex="1"', "the column of boxes by which one row is selected has no name"),
    "list": ("stSidebarNavItems", "on a phone the sections of the navigation are drawn as blocks within its list"),
    "listitem": ('<li class="st-emotion-cache', "and so their entries stand within a block, not within the list"),
    "svg-img-alt": ("role-mark metric_chart", "the bars within a small chart of st.metric have no texts of their own"),
}
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 22, 28)"}
PHONE_WIDTH = 390
FIRST_SCREEN = 600  # pixels from the top that a phone's browser shows beside its own bars
FIRST_ROW = 60  # pixels from the top of a table to the end of its first row
SHIFT_AT_MOST = 0.01
WATCHED_SECONDS = 31  # some parts are drawn again every 30
WATCH_SHIFTS = """() => { window.shifts = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({type: "layout-shift"}); }"""


def opened(context: BrowserContext, name: str) -> Page:
    page = context.new_page()
    page.goto(PAGES[name])
    settled(page)
    if name == "overview":
        expect(page.locator("[class*='st-key-times_'] .main-svg").first).to_be_attached()
    if name == "order":
        page.locator("a[href*='timeline?order=']").first.click()
        expect(page).to_have_url(re.compile("timeline"))
        settled(page)
    expect(page.locator("h1")).to_have_count(1)
    expect(page.get_by_text("SANDBOX · simulated").first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    return page


def violations(page: Page) -> list[str]:
    """What axe-core finds, without what only the framework could mend."""
    found = Axe().run(
        page,
        options={
            "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
            "resultTypes": ["violations"],
        },
    )
    texts = []
    for rule in found.response["violations"]:
        part, _ = OF_THE_FRAMEWORK.get(rule["id"], (None, ""))
        nodes = [node for node in rule["nodes"] if part is None or not re.search(part, node["html"])]
        texts += [f"{rule['id']}: {node['html'][:300]} {node['failureSummary'][:300]}" for node in nodes]
    return texts


# Counts that give way to what follows stand in two lines, or lose their last letters.
CUT_IN_THE_ROW = """row => [row, ...row.querySelectorAll("a, a *")]
    .filter(part => part === row ? row.offsetHeight > 50 : part.scrollWidth > part.clientWidth + 1 && part.clientWidth)
    .map(part => part.innerText)"""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "overview" else pytest.mark.long) for name in PAGES]
)
def test_a_page_is_readable_for_everyone_by_day_and_by_night_and_on_a_phone(context: BrowserContext, name: str) -> None:
    page = opened(context, name)
    for width, scheme in ((1280, "light"), (390, "dark")):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", GROUNDS[scheme])
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(1_000)  # until the charts are drawn in the other width and the other colours
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways at {width}"
        cut = page.locator(".st-key-counts").evaluate(CUT_IN_THE_ROW)
        assert cut == [], f"the row above {name} is cut at {width}"
        assert violations(page) == [], f"{name} at {width}, {scheme}"
    page.close()


@pytest.mark.parametrize(
    "name", ["orders", pytest.param("logs", marks=pytest.mark.long), pytest.param("audit", marks=pytest.mark.long)]
)
def test_a_phone_shows_the_first_row_of_a_list_on_its_first_screen_and_leads_to_every_view(
    context: BrowserContext, name: str
) -> None:
    page = opened(context, name)
    page.set_viewport_size({"width": PHONE_WIDTH, "height": 844})
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_be_visible()
    page.wait_for_timeout(1_000)  # as above
    settled(page)
    box = table.bounding_box()
    assert box is not None
    assert box["y"] + FIRST_ROW < FIRST_SCREEN
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    if name == "orders":
        page.get_by_role("radio", name="Already complete").click()
        expect(page).to_have_url(re.compile("view=found"))
    page.close()


@pytest.mark.parametrize(("name", "part"), [("order", "verdict"), ("handover", "handover_To-do-now")])
def test_a_printed_page_has_its_contents_and_no_buttons(context: BrowserContext, name: str, part: str) -> None:
    page = opened(context, name)
    buttons = page.locator(
        ":is([data-testid=stButton], [data-testid=stMenuButton], [data-testid=stDownloadButton]):visible"
    )
    for part_of_screen in (
        buttons,
        page.locator(".st-key-find:visible"),
        page.locator("[data-testid=stHeader]:visible"),
    ):
        expect(part_of_screen).not_to_have_count(0)
    page.emulate_media(media="print")
    for part_of_screen in (
        buttons,
        page.locator(".st-key-find:visible"),
        page.locator("[data-testid=stHeader]:visible"),
    ):
        expect(part_of_screen).to_have_count(0)
    expect(page.locator(f".st-key-{part}")).to_be_visible()
    if name == "order":
        expect(page.locator(".st-key-story")).to_be_visible()
        expect(page.locator(".st-key-way a:visible, .st-key-why:visible, [class*=st-key-show_]:visible")).to_have_count(
            0
        )
    page.close()


@pytest.mark.long
def test_nothing_moves_under_the_reader_and_what_is_half_typed_stays(context: BrowserContext) -> None:
    pages = {name: opened(context, name) for name in PAGES}
    for page in pages.values():
        page.wait_for_timeout(1_000)
        page.evaluate(WATCH_SHIFTS)
        page.locator(".st-key-find input").press_sequentially("half typ")
    next(iter(pages.values())).wait_for_timeout(WATCHED_SECONDS * 1_000)
    shifts = {name: page.evaluate("window.shifts") for name, page in pages.items()}
    typed = {name: page.evaluate("document.activeElement.value") for name, page in pages.items()}
    for page in pages.values():
        page.close()
    assert {name: text for name, text in typed.items() if text != "half typ"} == {}
    assert {name: shift for name, shift in shifts.items() if shift > SHIFT_AT_MOST} == {}, json.dumps(shifts)
