"""A team at its desk: many orders at once, stopped, resumed and killed in the middle; two people on the same orders."""

import random
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from histories import PLANNER
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect
from processes.children import Child, Nursery, free_port, nursery, until
from sqlalchemy import Connection, func, select

from browser.hands import Hands, settled
from tracking import ingest
from tracking.access import Person
from tracking.app.demonstration.seeding import seed
from tracking.orders.model import Line, Snapshot
from tracking.orders.vocabulary import EventKind
from tracking.provider.responses import ParsedOrder
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as reports
from tracking.storage.database import Database, connect
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team.tables import AUDIT_LOG, JOB_ORDERS
from tracking.team import jobs
from tracking.team.plans import Act, Parameters

pytestmark = pytest.mark.browser

ANN, BOB = "Ann Example", "Bob Example"
AT_ONCE = 250  # orders that are planted in one transaction
REFRESH = 15_000  # milliseconds: each page says within 5 s what others did, and this machine may be busy
UNDECIDED = ORDERS.c.attention.is_not(None) & ORDERS.c.acknowledged_at.is_(None)


@dataclass
class Desk:
    """A console with a store of its own, which can be killed and started again at the same address."""

    children: Nursery
    store: Database
    port: int
    console: Child | None = None

    def start(self) -> None:
        self.console = self.children.streamlit({"DISCOVER_EVERY": 0}, port=self.port).ready(within=60)

    def kill(self) -> None:
        assert self.console is not None
        self.console.kill()

    def number(self, *conditions: object) -> int:
        """How many orders there are of which this is so."""
        with self.store.read() as connection:
            counted = select(func.count()).select_from(ORDERS).where(*conditions)  # type: ignore[arg-type]  # as given
            return int(connection.execute(counted).scalar_one())

    def plant(self, prefix: str, number: int) -> None:
        """Orders of another system that were open and are cancelled: each needs a decision."""
        for start in range(0, number, AT_ONCE):
            names = [f"{prefix}{place:05d}" for place in range(start, min(start + AT_ONCE, number))]
            self.store.write(lambda connection, names=names: _plant(connection, names))  # type: ignore[misc]  # the default binds the loop's value


def _plant(connection: Connection, names: list[str]) -> None:
    now = datetime.now(UTC) - timedelta(hours=1)
    for name in names:
        line = Line(1, "CVS", 500, 1, "Pending")
        before = Snapshot(f"OUT-{name}", name, "Pending", "Links", now, (line,))
        ingest.discover(connection, ParsedOrder(before, {}, "open"), now, now, PLANNER)
        after = Snapshot(f"OUT-{name}", name, "Cancelled", "Links", now, (line,))
        ingest.discover(connection, ParsedOrder(after, {}, "cancelled"), now, now + timedelta(minutes=9), PLANNER)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with nursery(tmp_path_factory.mktemp("desk")) as children, closing(connect(children.database_url)) as store:
        opened = Desk(children, store, free_port())
        seed(store, 20, days=2, rng=random.Random(1), now=datetime.now(UTC))
        opened.start()
        yield opened


def somebody(browser: Browser, desk: Desk, name: str) -> BrowserContext:
    """A browser in which somebody has said once who they are."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=f"http://127.0.0.1:{desk.port}")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto("/orders")
    page.locator(".st-key-who button").first.click()
    page.locator(".st-key-name_of_who_acts input").fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".st-key-who")).to_contain_text(name)
    page.close()
    return context


def acknowledge_all(hands: Hands) -> int:
    """From a list of orders: all that match, for a reason; ends on the job's page. How many the button said."""
    page = hands.page
    settled(page)
    hands.press(page.locator(".st-key-select_all").get_by_role("button"))
    hands.press(page.locator(".st-key-acknowledge_selected").get_by_role("button"))
    drawer = page.get_by_role("dialog")
    hands.press(drawer.get_by_role("radio", name="Customer informed"))
    begin = drawer.get_by_role("button", name=re.compile(r"Acknowledge [\d,]+ orders"))
    expect(begin).to_be_enabled()
    said = begin.inner_text()
    hands.press(begin)
    expect(page).to_have_url(re.compile(r"/jobs\?job=\d+"))
    return int(re.sub(r"\D", "", said))


def job_number(page: Page) -> int:
    found = re.search(r"job=(\d+)", page.url)
    assert found is not None
    return int(found[1])


def acknowledgements(store: Database, prefix: str) -> dict[str, list[str]]:
    """Who acknowledged each order with this prefix, as its log says."""
    by_order: dict[str, list[str]] = {}
    query = select(ORDERS.c.po_number, EVENTS.c.detail).join(EVENTS, EVENTS.c.order_id == ORDERS.c.id)
    query = query.where(EVENTS.c.kind == EventKind.ACKNOWLEDGED, ORDERS.c.po_number.startswith(prefix))
    with store.read() as connection:
        for po_number, detail in connection.execute(query):
            by_order.setdefault(po_number, []).append(detail["actor"])
    return by_order


def audit(store: Database, job: int) -> list[tuple[str, str]]:
    with store.read() as connection:
        query = select(AUDIT_LOG.c.kind, AUDIT_LOG.c.person).where(AUDIT_LOG.c.job_id == job)
        return [tuple(row) for row in connection.execute(query.order_by(AUDIT_LOG.c.seq))]


@pytest.mark.long
@pytest.mark.parametrize("keyboard", [False, True])
def test_ten_orders_are_acknowledged_with_four_clicks(browser: Browser, desk: Desk, *, keyboard: bool) -> None:
    prefix = f"TEN-{keyboard}-"
    desk.plant(prefix, 10)
    context = somebody(browser, desk, ANN)
    page = context.new_page()
    page.goto(f"/orders?view=attention&prefix={prefix}")
    hands = Hands(page, keyboard=keyboard)
    assert acknowledge_all(hands) == 10
    assert hands.clicks == 4
    expect(page.get_by_text("10 of 10: 10 acknowledged")).to_be_visible()
    assert acknowledgements(desk.store, prefix) == {f"{prefix}{place:05d}": [ANN] for place in range(10)}
    context.close()


@pytest.mark.long
def test_two_people_on_the_same_orders_lose_no_act_double_none_and_see_each_others(
    browser: Browser, desk: Desk
) -> None:
    desk.plant("TWO-", 80)
    ann, bob = (somebody(browser, desk, name).new_page() for name in (ANN, BOB))
    for page in (ann, bob):
        page.goto("/timeline?order=TWO-00000")
        expect(page.locator(".st-key-acknowledge").get_by_role("button")).to_be_enabled()
        settled(page)
    bob.locator(".st-key-acknowledge").get_by_role("button").click()
    bob.get_by_role("dialog").get_by_role("button", name="Reordered").click()
    expect(ann.get_by_text(f"Acknowledged by {BOB}").first).to_be_visible(timeout=REFRESH)
    for page in (ann, bob):
        page.goto("/orders?prefix=TWO-")
        settled(page)
    pages = [Hands(page, keyboard=False) for page in (ann, bob)]
    for hands in pages:  # each has the drawer open before the other one starts
        hands.press(hands.page.locator(".st-key-select_all").get_by_role("button"))
        hands.press(hands.page.locator(".st-key-acknowledge_selected").get_by_role("button"))
        hands.press(hands.page.get_by_role("dialog").get_by_role("radio", name="Reordered"))
        expect(hands.page.get_by_role("button", name="Acknowledge 79 orders")).to_be_enabled()
    watching = ann.context.new_page()
    watching.goto("/orders?prefix=TWO-&size=100")
    expect(watching.locator(".st-key-orders_table canvas").first).to_be_visible()
    pages[0].press(ann.get_by_role("button", name="Acknowledge 79 orders"))
    chosen, _ = Filters.from_query({"prefix": "TWO-"})
    started = jobs.start(
        desk.store, chosen, Act.ACKNOWLEDGE, Parameters(reason="Reordered"), key="at the same time",
        by=Person(BOB), now=datetime.now(UTC), secret="a test",
    )  # fmt: skip
    expect(ann).to_have_url(re.compile(r"/jobs\?job=\d+"))
    expect(bob.get_by_role("dialog")).to_contain_text("None of these orders would be changed.", timeout=REFRESH)
    bob.goto(f"/jobs?job={started}")
    for page in (ann, bob):
        expect(page.get_by_text(re.compile("80 of 80: "))).to_be_visible()
    expect(watching.get_by_role("button", name="79 changed: show")).to_be_visible(timeout=REFRESH)
    statuses = [reports.job(desk.store, job_number(page), datetime.now(UTC)) for page in (ann, bob)]
    assert [status.person for status in statuses] == [ANN, BOB]
    assert sum(status.done for status in statuses) == 79
    assert sum(status.skipped for status in statuses) == 81
    acts = acknowledgements(desk.store, "TWO-")
    assert len(acts) == 80
    assert {len(people) for people in acts.values()} == {1}
    assert verify(desk.store) == []
    for page in (ann, bob):
        page.context.close()


@pytest.mark.long
def test_parts_that_are_asked_for_after_the_page_was_left_leave_none_white(browser: Browser, desk: Desk) -> None:
    desk.plant("SLOW-", 3)
    context = somebody(browser, desk, ANN)
    page = context.new_page()
    held: list[tuple[WebSocketRoute, str | bytes]] = []
    slow = threading.Event()

    def relay(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda sent: held.append((socket, sent)) if slow.is_set() else socket.send(sent))

    page.route_web_socket("**/_stcore/stream", relay)
    page.goto("/orders?view=attention&prefix=SLOW-")
    settled(page)
    page.locator(".st-key-select_all").get_by_role("button").click()
    page.locator(".st-key-acknowledge_selected").get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("radio", name="Reordered").click()
    begin = page.get_by_role("dialog").get_by_role("button", name="Acknowledge 3 orders")
    expect(begin).to_be_enabled()
    slow.set()
    begin.click()
    page.wait_for_timeout(6000)  # the list's parts are asked for every few seconds
    slow.clear()
    for socket, sent in held:
        socket.send(sent)
    expect(page).to_have_url(re.compile(r"/jobs\?job=\d+&list="))
    expect(page.get_by_text("3 of 3: 3 acknowledged")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(r"/orders\?view=attention&prefix=SLOW-$"))
    context.close()


@pytest.mark.long
@pytest.mark.parametrize(("seeded", "number"), [(0, 600), (15_000, 5_000)])
def test_all_that_match_are_acknowledged_in_five_clicks_stopped_resumed_and_killed_each_once(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, seeded: int, number: int
) -> None:
    folder = tmp_path_factory.mktemp("many")
    with nursery(folder) as children, closing(connect(children.database_url)) as store:
        desk = Desk(children, store, free_port())
        if seeded:
            seed(store, seeded, days=30, rng=random.Random(1), now=datetime.now(UTC))
        desk.plant("MANY-", number)
        desk.start()
        context = somebody(browser, desk, ANN)
        page = context.new_page()
        page.goto("/")
        settled(page)
        hands = Hands(page, keyboard=False)
        hands.press(page.locator(".st-key-counts").get_by_role("link", name=re.compile("need a decision")))
        expect(page).to_have_url(re.compile("view=attention"))
        said = acknowledge_all(hands)
        assert hands.clicks <= 5
        job = job_number(page)
        # Of those that were made up, one that the provider does not know may come to need a decision at any moment.
        total = reports.job(store, job, datetime.now(UTC)).total
        assert number <= said <= total
        number = total

        page.locator(".st-key-job_change").get_by_role("button", name="Stop").click()
        expect(page.locator(".st-key-job_change").get_by_role("button", name="Resume")).to_be_visible()
        stopped = reports.job(store, job, datetime.now(UTC))
        assert 0 < stopped.waiting <= number
        threading.Event().wait(1)
        assert reports.job(store, job, datetime.now(UTC)) == stopped
        page.locator(".st-key-job_change").get_by_role("button", name="Resume").click()
        until("orders after it was resumed", lambda: _waiting(store, job) < stopped.waiting, within=30, every=0.02)
        desk.kill()
        assert _waiting(store, job) > 0, "it was killed in the middle"
        desk.start()
        page.reload()
        expect(page.get_by_text(f"{number:,} of {number:,}: {number:,} acknowledged")).to_be_visible(timeout=180_000)

        assert desk.number(UNDECIDED, ORDERS.c.po_number.startswith("MANY-")) == 0
        acts = acknowledgements(store, "")
        assert len(acts) == number
        assert {tuple(people) for people in acts.values()} == {(ANN,)}
        with store.read() as connection:
            outcomes = select(JOB_ORDERS.c.outcome, func.count()).group_by(JOB_ORDERS.c.outcome)
            assert [tuple(row) for row in connection.execute(outcomes)] == [("done", number)]
        assert audit(store, job) == [("job started", ANN), ("job stopped", ANN), ("job resumed", ANN)]
        assert verify(store) == []
        context.close()


def _waiting(store: Database, job: int) -> int:
    return reports.job(store, job, datetime.now(UTC)).waiting
