"""People sign in with an OpenID Connect provider of their own machine, in a real browser."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from histories import find_order_id
from playwright.sync_api import Browser, Page, WebSocket, expect
from processes.children import Child, Nursery, free_port, nursery
from processes.over_http import submit

from tracking.reports import order
from tracking.storage.database import connect
from tracking.submissions.requests import read_request

pytestmark = pytest.mark.browser

PO_NUMBER = "CANARY-4711"
ORDER = {
    "Type": "Links",
    "PONumber": PO_NUMBER,
    "LineItems": [{"ProductId": "CVS", "Value": 10, "Quantity": 1, "ExternalId": "x"}],
}
FORGED = "eyJlbWFpbCI6ImFubkBleGFtcGxlLmNvbSIsImlzX2xvZ2dlZF9pbiI6dHJ1ZX0.aaaa.bbbb"
# What every page behind the entrance shows, or a page of this order.
SEEN_INSIDE = (PO_NUMBER, "Simulated provider", ": called them")
PEOPLE = ("ann", "vic", "sam")


@dataclass
class House:
    """A console that asks people to sign in, and the store behind it."""

    console: Child
    children: Nursery

    def acts(self) -> list[str]:
        """What people did with the order."""
        store = connect(self.children.database_url)
        try:
            story = order.order_record(store, find_order_id(store, PO_NUMBER) or 0)
        finally:
            store.close()
        return [event["text"] for event in story["timeline"] if event["witness"] == "person"]


@dataclass
class Visitor:
    """Somebody in front of a browser, and everything the console sent into it since they came."""

    page: Page
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.received.append(frame if isinstance(frame, bytes) else b""))

    def signs_in(self, name: str, path: str = "/") -> None:
        self.page.goto(path)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name=name, exact=True).click()

    def was_sent(self, text: str) -> bool:
        return any(text.encode() in frame for frame in self.received)


def claims(name: str) -> str:
    return json.dumps({"sub": name, "email": f"{name.capitalize()}@example.com", "email_verified": True})


def place(url: str) -> None:
    """Makes the store and the order that visitors look at."""
    store = connect(url)
    try:
        submit(store, [read_request(ORDER)])
    finally:
        store.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with nursery(tmp_path_factory.mktemp("house")) as children:
        port, at = free_port(), free_port()
        people = [part for name in PEOPLE for part in ("--user-claims", claims(name))]
        mock = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(at), *people]
        secrets = children.folder / "secrets.toml"
        secrets.write_text(
            "[auth]\n"
            f'redirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
            'cookie_secret = "made up for this test, and long enough"\n'
            'client_id = "console"\n'
            'client_secret = "made up too"\n'
            f'server_metadata_url = "http://127.0.0.1:{at}/.well-known/openid-configuration"\n'
        )
        settings = {"OPERATORS": "ann@example.com", "VIEWERS": "vic@EXAMPLE.com", "ROLES": "pages"}
        provider = children.serve(mock, at, {})
        console = children.streamlit(settings, port=port, options=["--secrets.files", str(secrets)])
        place(children.database_url)
        provider.ready("/.well-known/openid-configuration")
        yield House(console.ready(within=60), children)


@pytest.fixture(scope="module")
def window(browser: Browser, house: House) -> Iterator[Page]:
    """One window for all, as in a room that people share: a browser of their own would read all scripts anew."""
    context = browser.new_context(base_url=house.console.url)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


@pytest.fixture
def visitor(window: Page) -> Callable[[], Visitor]:
    """Lets the next one sit down, without a cookie or anything else of whoever sat there before."""

    def comes() -> Visitor:
        window.goto("about:blank")
        window.context.clear_cookies()
        return Visitor(window)

    return comes


Comes = Callable[[], Visitor]


def test_an_operator_acts_under_their_name_and_a_viewer_only_looks(house: House, visitor: Comes) -> None:
    ann = visitor()
    ann.signs_in("ann", f"/timeline?order={PO_NUMBER}")  # and lands there
    ann.page.locator(".st-key-who button").click()
    expect(ann.page.get_by_text("ann@example.com, operator")).to_be_visible()
    ann.page.keyboard.press("Escape")
    ann.page.locator(".st-key-note button").click()
    ann.page.locator(".st-key-note_text textarea").fill("called them")
    ann.page.locator(".st-key-note_submit button").click()
    expect(ann.page.locator(".st-key-story")).to_contain_text(re.compile(r"ann@\W?example.com: called them"))
    assert house.acts() == ["Note by ann@example.com: called them"]
    assert [ann.was_sent(word) for word in SEEN_INSIDE] == [True] * 3, "what a page shows is in what it was sent"

    vic = visitor()
    vic.signs_in("vic", f"/timeline?order={PO_NUMBER}")
    vic.page.locator(".st-key-who button").click()
    expect(vic.page.get_by_text("vic@example.com, viewer")).to_be_visible()
    expect(vic.page.locator(".st-key-story")).to_contain_text("called them")
    for key in ("check_now", "resend", "acknowledge", "note"):
        expect(vic.page.locator(f".st-key-{key} button").first).to_be_disabled()


def test_a_stranger_who_signed_in_sees_no_data_and_can_sign_out(visitor: Comes) -> None:
    sam = visitor()
    sam.signs_in("sam")
    for address in ("/", "/orders", f"/timeline?order={PO_NUMBER}"):
        sam.page.goto(address)
        expect(sam.page.get_by_text("is on neither the list of operators nor that of viewers")).to_be_visible()
        expect(sam.page.get_by_role("link", name="Orders")).to_have_count(0)
    assert sam.was_sent("You cannot sign in")
    assert not any(sam.was_sent(word) for word in SEEN_INSIDE)
    sam.page.get_by_role("button", name="Sign out").click()
    sam.page.wait_for_url("**/oauth2/end_session?**")
    sam.page.goto("/")
    expect(sam.page.get_by_text("Sign in to see orders.")).to_be_visible()


def test_without_signing_in_nothing_can_be_had(house: House, visitor: Comes) -> None:
    nobody = visitor()
    forged = {"name": "_streamlit_user", "value": FORGED, "url": house.console.url}
    nobody.page.context.add_cookies([forged])  # type: ignore[list-item]  # Playwright's TypedDict, written as a dict
    for address in ("/", "/orders", f"/timeline?order={PO_NUMBER}", "/submit", "/activity"):
        nobody.page.goto(address)
        expect(nobody.page.get_by_text("Sign in to see orders.")).to_be_visible()
        expect(nobody.page.get_by_role("link", name="Orders")).to_have_count(0)
    assert nobody.was_sent("Sign in to see orders.")
    assert not any(nobody.was_sent(word) for word in SEEN_INSIDE)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_no_address_beside_the_pages_tells_of_orders(house: House, method: str) -> None:
    paths = ("health", "host-config", "metrics", "script-health-check", "agent/interact", "agent/mcp")
    addresses = [f"/_stcore/{path}" for path in (*paths, "upload_file/x/y")] + ["/media/x.csv", "/component/x", "/"]
    with httpx.Client(base_url=house.console.url, cookies={"_streamlit_user": FORGED}, trust_env=False) as client:
        for address in addresses:
            answered = client.request(method, address, content=b"{}", headers={"Content-Type": "application/json"})
            assert answered.status_code < 500, address
            assert not any(word in answered.text for word in SEEN_INSIDE), address
