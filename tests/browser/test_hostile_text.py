"""Text from outside stays text: nothing runs, nothing is fetched, nothing becomes a link, on any page."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Browser, Error, FilePayload, Page, expect
from processes.children import HTTP, Child, nursery

from browser import planted as hostile
from browser.hands import go
from tracking.storage import database

pytestmark = pytest.mark.browser

# Where most of what came from outside stands, and what of the page is there only once it is shown.
MOST_SHOWN = {
    "/orders": ".st-key-orders_table",
    "/activity?what=callbacks": ".st-key-callbacks",
    "/activity?what=events": ".st-key-log",
    "/jobs": "h1:has-text('Jobs')",
    "/handover": ".st-key-handover_tools",
}
# What of the page is not as it was written. A text node that holds a word of LITERALS must hold its markup before it.
INTERPRETED = """([literals, icon, emoji, arrow, turning]) => {
  const found = [];
  if (window.hacked !== undefined) found.push("a script ran");
  const plain = text => text.replaceAll("\\u2060", "");
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const inside = walker.currentNode.parentElement;
    if (inside.closest("script, style, textarea")) continue;
    // What highlights code puts each of its words into an element of its own.
    const text = plain((inside.closest("pre code") || walker.currentNode).textContent);
    for (const [word, before] of Object.entries(literals))
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1))
        if (!text.slice(0, at).endsWith(before)) found.push(`${word} without ${before}: ${text.slice(0, 80)}`);
    if (text.includes(emoji) || text.includes(arrow)) found.push(`a symbol: ${text.slice(0, 80)}`);
    if (text.includes(turning) && !inside.closest("code, table")) found.push(`turned around: ${text.slice(0, 80)}`);
    if (text.trim() === icon && !inside.closest("code")) found.push("an icon");
  }
  for (const element of document.querySelectorAll("*"))
    for (const {name, value} of element.attributes) {
      if (name.startsWith("on")) found.push(`${name} on ${element.tagName}`);
      if (!/^(href|src|xlink:href|action|formaction|srcset|data)$/.test(name)) continue;
      const address = new URL(value, location.href);
      const local = address.origin === location.origin || /^(data|blob):$/.test(address.protocol);
      if (!local) found.push(`${element.tagName} ${name}=${value}`);
    }
  return found;
}"""


@pytest.fixture(scope="module")
def canary() -> Iterator[hostile.Canary]:
    with hostile.canary() as kept:
        yield kept


@pytest.fixture(scope="module")
def payloads(canary: hostile.Canary) -> hostile.Payloads:
    return hostile.Payloads(canary.url)


@pytest.fixture(scope="module")
def planted() -> list[str]:
    """The PONumbers of the planted orders, filled in by `console`."""
    return []


@pytest.fixture(scope="module")
def console(
    tmp_path_factory: pytest.TempPathFactory, payloads: hostile.Payloads, planted: list[str]
) -> Iterator[Child]:
    """The pages alone, on a store that holds nothing but hostile text."""
    with nursery(tmp_path_factory.mktemp("hostile")) as children:
        kept = database.connect(children.database_url)
        planted += hostile.plant(kept, payloads, hostile.now())
        kept.close()
        yield children.streamlit(settings={"ROLES": "pages"}).ready(within=60)


class Watch:
    """A page, and what it did that it must not do."""

    def __init__(self, page: Page, console: Child, canary: hostile.Canary) -> None:
        self.page = page
        self.context = page.context
        self.canary = canary
        self.origin = console.url
        self.strays: list[str] = []
        page.on("request", self._asked)
        page.on("console", lambda message: self._told(message.text))
        page.on("dialog", lambda dialog: self.strays.append(f"dialog {dialog.message}"))

    def _asked(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((f"{self.origin}/", "data:", f"blob:{self.origin}/")):
            self.strays.append(url)

    def _told(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.strays.append(text)

    def settled(self) -> None:
        expect(self.page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0)

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.settled()

    def follow(self, address: str) -> None:
        go(self.page, address)
        self.settled()

    def inert(self, where: str) -> None:
        """Fails with everything that was interpreted."""
        literals = [hostile.LITERALS, hostile.ICON, hostile.EMOJI, hostile.ARROW, hostile.TURNING]
        found = self.page.evaluate(INTERPRETED, literals)
        assert not found, f"{where}: {found}"
        assert not self.strays, f"{where}: {self.strays}"
        assert not self.canary.asked, f"{where}: {self.canary.asked}"
        expect(self.page.get_by_test_id("stException")).to_have_count(0)


@pytest.fixture(scope="module")
def watch(browser: Browser, console: Child, canary: hostile.Canary) -> Iterator[Watch]:
    context = browser.new_context(viewport={"width": 1280, "height": 2400}, base_url=console.url)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield Watch(page, console, canary)
    context.close()


def hover(page: Page) -> None:
    """Makes a point of the chart say what it is; again where the chart is just drawn anew."""
    chart = page.locator(".st-key-timeline_chart")
    for _ in range(20):
        with contextlib.suppress(AssertionError, Error):
            chart.locator(".scatterlayer .trace .points path").last.hover(force=True, timeout=1_000)
            expect(chart.locator(".hoverlayer .hovertext")).not_to_have_count(0, timeout=1_000)
            return
    pytest.fail("no point of the chart says what it is")


def expand(watch: Watch) -> None:
    """Opens every expander."""
    for box in watch.page.get_by_test_id("stExpander").locator("summary").all():
        box.click()
    watch.settled()


def overview(watch: Watch) -> None:
    watch.open("/")
    expand(watch)
    watch.inert("overview")


def orders(watch: Watch, payloads: hostile.Payloads) -> None:
    watch.open("/orders")
    watch.page.locator(".st-key-filters button").first.click()
    watch.page.locator(".st-key-filter_state input").click()
    watch.inert("orders")
    bad = ("from", "to", "min", "max", "older", "view", "sort", "type", "source", "page", "asc", payloads.short[0])
    for query in (
        [(name, text) for name in ("state", "not_state", "type", "po") for text in payloads.short],
        [(name, payloads.line) for name in ("q", "product", "prefix", *bad)],
    ):
        watch.open(f"/orders?{urlencode(query)}")
        watch.inert(f"orders, {query}")
    many_orders(watch, payloads)


def many_orders(watch: Watch, payloads: hostile.Payloads) -> None:
    """The menu of saved views, and the drawer, for orders that a hostile filter names."""
    page = watch.page
    watch.open(f"/orders?{urlencode([('not_state', text) for text in payloads.short])}")
    page.locator(".st-key-saved_views button").first.click()
    watch.inert("saved views")
    page.keyboard.press("Escape")
    page.locator(".st-key-select_all button").first.click()
    page.locator(".st-key-acknowledge_selected button").first.click()
    page.get_by_role("dialog").get_by_role("radio", name="Assign").click()
    watch.settled()
    page.get_by_role("dialog").get_by_role("combobox").click()
    watch.inert("the drawer")


def timeline(watch: Watch, po_number: str, parts: Sequence[str] = ("All events", "Lines", "API calls", "Raw")) -> None:
    watch.open(f"/timeline?order={quote(po_number, safe='')}")
    expect(watch.page.locator(".st-key-story")).to_be_visible()
    hover(watch.page)
    watch.inert(f"timeline, {po_number}")
    for part in parts:
        watch.page.get_by_role("radiogroup", name="Show").get_by_text(part).click()
        watch.settled()
        expand(watch)
        watch.inert(f"timeline, {part}, {po_number}")


def timelines(watch: Watch, planted: list[str], payloads: hostile.Payloads) -> None:
    for po_number in (planted[4], *planted[-3:]):
        timeline(watch, po_number)
    watch.open(f"/timeline?{urlencode({'order': planted[0], 'as_of': datetime.now(UTC).isoformat()})}")
    watch.inert("timeline as of a moment")
    watch.open(f"/?{urlencode({'as_of': datetime.now(UTC).isoformat()})}")
    watch.inert("overview as of a moment")
    watch.open(f"/?{urlencode({'as_of': payloads.line})}")
    watch.inert("overview as of no moment")
    watch.open(f"/timeline?{urlencode({'order': payloads.prose[:200]})}")
    watch.inert("timeline of nothing")


def what_a_person_writes(watch: Watch, planted: list[str], payloads: hostile.Payloads) -> None:
    page = watch.page
    watch.open(f"/timeline?order={quote(planted[-1], safe='')}")
    page.locator(".st-key-note button").click()
    page.locator(".st-key-actor_name input").fill(payloads.short[4])
    page.locator(".st-key-note_text textarea").fill(payloads.prose[:500])
    watch.inert("the dialog")
    page.locator(".st-key-note_submit button").click()
    expect(page.get_by_test_id("stToast")).not_to_have_count(0)
    expect(page.locator(".st-key-story")).to_contain_text(f"{payloads.short[4][:5]}")
    watch.inert("what was written")


def activity(watch: Watch, payloads: hostile.Payloads) -> None:
    for what in ("callbacks", "calls", "events", "files", "contract"):
        watch.open(f"/activity?what={what}")
        watch.inert(f"activity, {what}")
        if what in {"files", "contract"}:
            continue
        watch.page.get_by_test_id("stDataFrame").first.click(position={"x": 65, "y": 45})  # the first row's Details
        expect(watch.page.get_by_role("dialog")).to_be_visible()
        watch.settled()
        watch.inert(f"activity, details of {what}")
    names = (
        *("outcome", "method", "failed", "kinds", "since", "bar", "callbacks_page", "calls_page", "log_page"),
        *("endpoint", "kind", "only", "contract_page"),
    )
    for what in ("callbacks", "calls", "events", "contract", payloads.short[0]):
        watch.open(f"/activity?{urlencode([('what', what), *((name, payloads.line) for name in names)])}")
        watch.inert(f"activity, {what}, with filters of all sorts")
    watch.open("/insights")
    watch.inert("insights")
    for query in ("", "?import=1", f"?{urlencode({'import': payloads.line, 'outcome': payloads.line, 'page': 'x'})}"):
        watch.open(f"/imports{query}")
        watch.inert(f"imports {query}")
    for query in ("", "?job=1", "?job=2", f"?{urlencode({'job': payloads.line})}"):
        watch.open(f"/jobs{query}")
        watch.inert(f"jobs {query}")


def a_file(watch: Watch, payloads: hostile.Payloads) -> None:
    watch.open("/submit")
    watch.page.locator(".st-key-how").get_by_text("CSV file").click()
    for name, data in (("cells", hostile.csv_file(payloads)), ("header", hostile.csv_header(payloads))):
        given = FilePayload(name=f"{payloads.short[0]} {name}.csv", mimeType="text/csv", buffer=data)
        watch.page.locator(".st-key-csv input").set_input_files(given)
        expect(watch.page.get_by_role("heading", name=re.compile(rf"{name}\.csv$"))).to_be_visible()
        expect(watch.page.locator(".st-key-problems")).to_be_visible()
        watch.settled()
        watch.inert(f"submit, {name}")


def one_order(watch: Watch, payloads: hostile.Payloads) -> None:
    page = watch.page
    watch.open("/submit")
    page.locator(".st-key-order_type").get_by_text("Cards by post").click()
    expect(page.locator(".st-key-CarrierId")).to_be_visible()
    for field in ("product_id", "ShippingMethodId", "CarrierId"):
        page.locator(f".st-key-{field} input").click()
        page.get_by_role("option").nth(4).click()
        watch.settled()
        watch.inert(f"submit, {field}")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_text("is missing").first).to_be_visible()
    watch.inert("submit, a line with problems")
    address = {"Name": "Ann", "AddressLine1": "1 Main St", "City": "Boston", "State": "MA", "Zip": "02101"}
    fields = {f"address_{name}": text for name, text in address.items()} | {"order_note": payloads.prose[:200]}
    for key, text in fields.items():
        page.locator(f".st-key-{key} input").fill(text)
        page.locator(f".st-key-{key} input").press("Tab")
        watch.settled()
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("dialog")).to_contain_text("Note:")
    watch.settled()
    watch.inert("submit, reviewed")


def test_text_from_outside_stays_text_where_most_of_it_is_shown(watch: Watch, planted: list[str]) -> None:
    watch.open("/")
    watch.inert("/")
    for address, part in MOST_SHOWN.items():
        watch.follow(address)
        expect(watch.page.locator(part)).not_to_have_count(0)
        watch.inert(address)
    timeline(watch, planted[-1], ("All events", "Lines"))


@pytest.mark.long
def test_text_from_outside_stays_text_on_every_page(
    watch: Watch, planted: list[str], payloads: hostile.Payloads
) -> None:
    overview(watch)
    orders(watch, payloads)
    timelines(watch, planted, payloads)
    activity(watch, payloads)
    a_file(watch, payloads)
    one_order(watch, payloads)
    what_a_person_writes(watch, planted, payloads)


def test_a_file_is_made_when_asked_for_and_goes_to_the_browser_that_asked(watch: Watch) -> None:
    page = watch.context.new_page()
    frames: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(bytes_of(data))))
    page.goto("/orders")
    page.get_by_role("button", name="Export").click()
    expect(page.locator(".st-key-export_csv")).to_be_visible()
    assert frames
    assert not any(b"/media/" in frame for frame in frames), "nothing lies ready before somebody asks"
    with page.expect_download() as downloaded:
        page.locator(".st-key-export_csv button").click()
    rows = downloaded.value.path().read_text()
    assert hostile.TURNING in rows
    assert not re.search(r"(^|,)\"?\s*[=+@-]", rows, re.MULTILINE), "no cell begins as a formula does"
    assert HTTP.get(downloaded.value.url).status_code == 404
    page.close()


def test_no_address_tells_anything_without_a_page(console: Child, planted: list[str]) -> None:
    ours = ["/", "/orders", f"/timeline?order={quote(planted[0])}", "/healthz", "/metrics"]
    cores = [
        "health",
        "host-config",
        "metrics",
        "script-health-check",
        "agent/openapi.json",
        "upload_file/a/b",
        "stream",
    ]
    others = ["/media/", f"/media/{'0' * 32}.csv", "/component/a/b", "/app/static/a", "/static/", "/webhooks/a"]
    for address in [*ours, *(f"/_stcore/{name}" for name in cores), *others]:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = HTTP.request(method, console.url + address)
            told = answer.text + str(answer.headers)
            assert not re.search(r"Z(link|red|bold)|hacked|onerror|Traceback|File \"", told), f"{method} {address}"
    agent = HTTP.post(f"{console.url}/_stcore/agent/interact", json={})
    assert agent.status_code >= 400


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("localhost", "http://localhost", 101),
        ("[::1]", "http://[::1]", 101),
        ("127.0.0.1", None, 403),
        ("foreign.example", None, 403),
        ("foreign.example", "http://foreign.example", 403),
        ("localhost.foreign.example", None, 403),
        ("127.0.0.1", "http://foreign.example", 403),
    ],
)
def test_a_page_opens_under_the_allowed_names_alone(console: Child, host: str, origin: str | None, status: int) -> None:
    said = {
        "Host": host,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Protocol": "streamlit",
    } | ({"Origin": origin} if origin else {})
    with HTTP.stream("GET", f"{console.url}/_stcore/stream", headers=said) as answer:
        assert answer.status_code == status


def test_an_error_in_a_page_is_told_to_the_log_alone(watch: Watch, console: Child) -> None:
    page = watch.context.new_page()
    frames: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(bytes_of(data))))
    page.goto(f"/timeline?order={hostile.BROKEN}")
    expect(page.get_by_test_id("stException")).to_be_visible()
    told = page.content() + b"".join(frames).decode(errors="replace")
    assert hostile.SECRET not in told
    assert not re.search(r"ValueError|Traceback|stories\.py", told)
    page.close()
    logged = re.sub(r"\x1b\[[\d;]*m", "", console.said)
    assert f"ValueError: {hostile.SECRET!r}" in logged
    assert "Traceback" in logged


def bytes_of(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
