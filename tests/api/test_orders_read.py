"""What is asked of orders is answered as the pages and `order --json` know it, page by page, and no more than that."""

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from api_client import Ask
from histories import History
from sqlalchemy import Connection

from tracking.api.description.queries import OrdersQuery
from tracking.errors import StoreBusy, StoreUnusable, TooSlow
from tracking.reports.order import order_record
from tracking.reports.order_list.filters import SORTS, Filters
from tracking.reports.order_list.search import order_records
from tracking.storage.database import Database

PEOPLE: dict[str, Any] = {"recipient": "jane.roe@example.com"}


@pytest.fixture
def some(history: History) -> History:
    """Seven orders in all kinds of states."""
    for number in range(7):
        history.place(f"po-{number}", value=1000 * (1 + number % 3), lines=1 + number % 2, **PEOPLE)
        history.wait(minutes=1)
        steps = (history.accept, history.complete, history.refuse, history.lose, None, history.complete, history.accept)
        if (step := steps[number]) is not None:
            step(f"po-{number}")
    return history


def paged(ask: Ask, **query: Any) -> list[str]:
    numbers: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = ask("/api/v1/orders?" + urlencode(query | ({"cursor": cursor} if cursor else {}), doseq=True))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        numbers += [order["po_number"] for order in page["orders"]]
        cursor = page["next_cursor"]
    return numbers


@pytest.mark.parametrize("asc", ["true", "false"])
def test_the_pages_of_every_order_of_the_list_are_the_list(store: Database, some: History, ask: Ask, asc: str) -> None:
    for sort in SORTS:
        word = sort.replace("look", "poll")
        filters = Filters.from_query({"sort": sort, "asc": asc, "size": "500"})[0]
        whole = [record["po_number"] for record in order_records(store, filters, some.at)]
        assert len(whole) == 7
        assert paged(ask, sort=word, asc=asc, limit=2) == whole, sort


def test_a_filter_is_that_of_the_list_and_an_order_is_as_the_command_prints_it(
    store: Database, some: History, ask: Ask
) -> None:
    page = ask("/api/v1/orders?state=Completed&state=Refused&min=20&limit=9").json()
    filters = Filters.from_query({"state": ["Completed", "Refused"], "min": "20"})[0]
    assert page["orders"] == order_records(store, filters, some.at)
    assert [order["po_number"] for order in page["orders"]] == ["po-5", "po-2", "po-1"]
    told, record = ask("/api/v1/orders/po-1").json(), order_record(store, some.numbers["po-1"])
    for event in told["timeline"]:
        event.pop("actor")
    assert {name: told[name] for name in record} == record
    assert told["verdict"].startswith("Completed")
    assert told["lines"][0]["recipient"] == "j***@example.com"
    assert told["agreement"] is None
    assert ask("/api/v1/orders/po-2").json()["decision"].startswith("Needs a decision")


def test_words_are_taken_in_any_case_and_what_the_console_does_not_know_is_said(some: History, ask: Ask) -> None:
    def asked(**query: str) -> tuple[int, list[str]]:
        page = ask("/api/v1/orders?" + urlencode(query)).json()
        return len(page["orders"]), page["notes"]

    for state, number in (("completed", 2), ("UNCONFIRMED", 1), ("outcome unknown", 1)):
        assert asked(state=state) == (number, []), state
    assert asked(not_state="completed") == (5, [])
    assert asked(type="links") == asked(product="cvs") == (7, [])
    assert asked(po="PO-1") == (1, [])
    found, [note] = asked(state="Complete")
    assert (found, note.partition(":")[0]) == (0, "'Complete' is no state that this console knows")
    assert asked(source="FORM") == (7, [])
    assert asked(source="console")[1] == [
        "'console' is no source that this console knows: form, csv, json, cli, api, elsewhere"
    ]
    assert asked(type="Link")[1][0].startswith("'Link' is no type that this console knows: DigitalDelivery,")


def test_the_query_has_the_names_of_the_filter() -> None:
    names = {field.alias or name for name, field in OrdersQuery.model_fields.items()}
    in_addresses = {field.metadata["name"] for field in Filters.__dataclass_fields__.values()}
    assert names == in_addresses - {"page", "size"} | {"cursor", "limit"}


def test_what_is_placed_meanwhile_neither_moves_a_page_nor_doubles_an_order(some: History, ask: Ask) -> None:
    first = ask("/api/v1/orders?limit=3").json()
    some.wait(minutes=1)
    some.place("newer")
    rest = ask(f"/api/v1/orders?limit=9&cursor={first['next_cursor']}").json()
    assert [order["po_number"] for page in (first, rest) for order in page["orders"]] == [
        f"po-{number}" for number in range(6, -1, -1)
    ]


def test_the_lines_and_events_of_an_order_come_in_pages_too(some: History, ask: Ask) -> None:
    def whole(address: str, of: str) -> list[dict[str, Any]]:
        records, page = list[dict[str, Any]](), ask(f"{address}/{of}?limit=2").json()
        while page["next_cursor"] is not None:
            records += page[of]
            page = ask(f"{address}/{of}?limit=2&cursor={page['next_cursor']}").json()
        return [*records, *page[of]]

    some.place("a/b/events", lines=5)
    lines = whole(f"/api/v1/orders/{quote('a/b/events', safe='')}", "lines")
    assert [line["number"] for line in lines] == [1, 2, 3, 4, 5]
    events = whole("/api/v1/orders/po-1", "events")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["state"] for event in events if event["state"]] == ["Queued", "Sending", "Pending", "Completed"]


def test_an_order_is_known_by_each_of_its_ids_and_by_nobodys_address(some: History, ask: Ask) -> None:
    for number in (1, 2):
        some.place(f"ref-{number}", external_id="yours", **PEOPLE)
    some.place("ref-3", external_id="only-here")
    assert ask("/api/v1/orders/only-here").json()["po_number"] == "ref-3"
    assert ask(f"/api/v1/orders/BLK-{some.numbers['po-1']}").json()["po_number"] == "po-1"
    twice = ask("/api/v1/orders/yours")
    assert (twice.status_code, twice.json()["detail"][:34]) == (409, "More than one order has this exter")
    for nobody in ("jane.roe@example.com", "po-", "PO-99", "%00", "a" * 250):
        assert ask(f"/api/v1/orders/{nobody}").status_code == 404, nobody


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("view=nothing", "view"),
        ("older=soon", "older"),
        ("from=yesterday", "from"),
        ("page=2", "page"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=", "cursor"),
        ("cursor=WyJ4Il0", "cursor"),
        ("cursor=%F0%9F%8E%81", "cursor"),
        ("reason=because", "reason.0"),
    ],
)
def test_what_cannot_be_used_is_named(some: History, ask: Ask, query: str, where: str) -> None:
    refused = ask(f"/api/v1/orders?{query}")
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert [each["where"] for each in refused.json()["problems"]] == [where]


def test_a_cursor_is_of_one_list_alone(some: History, ask: Ask) -> None:
    cursor = ask("/api/v1/orders?limit=2").json()["next_cursor"]
    assert ask(f"/api/v1/orders?limit=5&cursor={cursor}").status_code == 200
    for other in ("/api/v1/orders?state=Pending&", "/api/v1/orders?asc=true&", "/api/v1/orders/po-1/lines?"):
        assert ask(f"{other}cursor={cursor}").status_code == 422


def test_counts_and_health_say_what_the_pages_say(some: History, ask: Ask) -> None:
    counts = ask("/api/v1/counts").json()
    assert counts["views"]["all"] == {"orders": 7, "at_least": False}
    assert counts["views"]["attention"]["orders"] == 1
    assert sum(counts["states"].values()) == 7
    health = ask("/api/v1/health").json()
    assert health["status"] in {"healthy", "degraded", "down"}
    assert {"Poller", "Sender"} <= {each["name"] for each in health["components"]}


@pytest.mark.parametrize(
    ("error", "status", "kind", "wait"),
    [
        (TooSlow("x"), 503, "too-slow", None),
        (StoreBusy("x"), 503, "busy", "1"),
        (StoreUnusable("the disk is full"), 503, "store", "30"),
        (ZeroDivisionError("jane.roe@example.com"), 500, "unexpected", None),
    ],
)
def test_trouble_of_the_store_is_told_with_what_to_do(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str, wait: str | None
) -> None:
    assert ask("/api/v1/counts").status_code == 200

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tracking.api.reading.view_counts", fail)
    answer = ask("/api/v1/counts")
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, wait)
    assert answer.json()["type"].endswith(f"#{kind}")
    assert "jane" not in answer.text


def test_a_read_has_a_limit_of_time(store: Database, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("/api/v1/counts").status_code == 200
    monkeypatch.setattr("tracking.api.service.ASKED_SECONDS", 0.05)

    def endless(connection: Connection, *_: Any) -> Any:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        return connection.exec_driver_sql(numbers).scalar()

    monkeypatch.setattr("tracking.api.reading.health.component_status", endless)
    assert ask("/api/v1/health").json()["type"].endswith("#too-slow")
