import asyncio
import contextlib
import gzip
import hmac
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fakes import NOW, Clock, callback_body, request, shown
from sqlalchemy.engine import RowMapping
from sqlmodel import SQLModel
from starlette.applications import Starlette
from starlette.routing import Route

from tracking import ingest
from tracking.errors import StoreBusy
from tracking.forecasting.planner import PlanningContext
from tracking.provider.http.findings import Findings
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.storage import facts, orders
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS
from tracking.webhooks import address_book, addresses, receiver
from tracking.webhooks.receiver import LARGEST_BODY, LARGEST_BODY_OVER_LIMIT, Receiver, RefusalRule
from tracking.webhooks.refusals import REFUSALS_STORED_PER_SECOND

PO = "demo-0001"
SECRETS = ("the-new-secret-of-ours", "an-old-secret-of-ours")


class Door:
    """The receiver in an application, and what it left in the store."""

    def __init__(self, store: Database, planner: PlanningContext, clock: Clock) -> None:
        self.store, self.planner, self.clock = store, planner, clock
        self.woken = 0
        self.findings = Findings()
        self.receiver = Receiver(store, SECRETS, planner, clock=clock, wake=self._wake, findings=self.findings)
        paths = (WEBHOOK_PATH + "{token}", "/webhooks/{rest:path}")
        self.app = Starlette(routes=[Route(path, self.receiver) for path in paths])

    def _wake(self) -> None:
        self.woken += 1

    def call(
        self, *calls: tuple[str, str, Any], source: str = "127.0.0.1", headers: dict[str, str] | None = None
    ) -> list[httpx.Response]:
        """Method, address, body: all of them after one another."""

        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, client=(source, 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return [
                    await client.request(method, address, content=body, headers=headers)
                    for method, address, body in calls
                ]

        return asyncio.run(run())

    def call_at_once(self, *calls: tuple[str, str, Any]) -> list[httpx.Response]:
        """The same, all of them together."""

        async def run() -> list[httpx.Response]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://console") as client:
                return await asyncio.gather(
                    *(client.request(method, path, content=body) for method, path, body in calls)
                )

        return asyncio.run(run())

    def post(self, body: Any, po_number: str = PO, secret: str = SECRETS[0]) -> int:
        [answer] = self.call(("POST", address(po_number, secret), body))
        return answer.status_code

    def rows(self, table: sa.Table = CALLBACKS) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            return connection.execute(sa.select(table).order_by(*table.primary_key)).mappings().all()


def address(po_number: str = PO, secret: str = SECRETS[0]) -> str:
    return WEBHOOK_PATH + addresses.make_token(po_number, secret)


@pytest.fixture
def door(store: Database, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setattr("tracking.webhooks.receiver.SLOW_LOOKUP_PAUSE", 0.01)  # floods here come one after another
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    return Door(store, planner, clock)


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


# The order was placed elsewhere: its address is in no book of ours, so that a body must name it.
REFUSED: dict[str, tuple[str, str, Any]] = {
    "a wrong address": ("POST", WEBHOOK_PATH + "x" * 43, callback_body()),
    "a short address": ("POST", WEBHOOK_PATH + "x", callback_body()),
    "no address": ("POST", WEBHOOK_PATH, callback_body()),
    "a deeper address": ("POST", address() + "/x", callback_body()),
    "an address beside it": ("POST", "/webhooks/other", callback_body()),
    "another order's address": ("POST", address("demo-0002"), callback_body()),
    "a secret of nobody": ("POST", address(PO, "a-secret-of-nobody"), callback_body()),
    "GET": ("GET", address(), b""),
    "PUT": ("PUT", address(), callback_body()),
    "HEAD": ("HEAD", address(), b""),
    "DELETE": ("DELETE", address(), b""),
    "an unheard-of method": ("BREW", address(), callback_body()),
    "broken JSON": ("POST", address(), callback_body()[:-5]),
    "no JSON object": ("POST", address(), b"[]"),
    "bad UTF-8": ("POST", address(), b'{"Action": "\xff\xfe"}'),
    "deep JSON": ("POST", address(), b"[" * 30_000),
    "no body": ("POST", address(), b""),
    "no order": ("POST", address(), callback_body(None, None)),
    "an id nobody knows": ("POST", address(), callback_body(None, "BLK-404")),
    "a body too large": ("POST", address(), b" " * LARGEST_BODY + callback_body()),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_proves_nothing_is_refused_and_changes_nothing(door: Door, call: tuple[str, str, Any]) -> None:
    before = door.rows(ORDERS), door.rows(EVENTS)
    [answer] = door.call(call)
    assert (answer.status_code, answer.content) == (404, b"")
    assert (door.rows(ORDERS), door.rows(EVENTS)) == before
    [kept] = door.rows()
    assert (kept["outcome"], kept["order_id"], kept["digest"]) == ("refused", None, None)
    assert kept["reason"]
    assert (kept["rule"] in set(RefusalRule), kept["source"]) == (True, "127.0.0.1")
    assert kept["po_number"] in {None, PO}
    assert (door.woken, door.receiver.refused, door.receiver.accepted) == (0, 1, 0)


def test_all_refusals_look_alike_to_the_last_header(door: Door) -> None:
    answers = []
    for call in REFUSED.values():
        answers += door.call(call)
        door.clock.pass_by(seconds=1)
    assert len({(answer.status_code, tuple(answer.headers.raw), answer.content) for answer in answers}) == 1


def test_ten_megabytes_are_read_to_their_end_and_refused(door: Door) -> None:
    assert door.post(pieces(10 * 1024 * 1024)) == 404
    [kept] = door.rows()
    assert ("larger than 64 kB" in kept["reason"], kept["size"]) == (True, 10 * 1024 * 1024)


def test_a_flood_beyond_all_measure_is_not_even_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LARGEST_DRAINED", 128 * 1024)
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield b"x" * 65536

    async def run() -> list[dict[str, Any]]:
        body = endless()
        answered: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": await anext(body), "more_body": True}

        async def send(message: Any) -> None:
            answered.append(message)
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "POST", "path": address(), "headers": [], "query_string": b""}
        await door.app(scope, receive, send)
        return answered

    assert asyncio.run(run())[0]["status"] == 404
    assert len(sent) == 3


def test_a_body_that_does_not_arrive_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "SECONDS_TO_READ", 0.02)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert door.post(stuck()) == 404
    [kept] = door.rows()
    assert ("took longer" in kept["reason"], kept["size"]) == (True, 1)


def test_a_proven_call_is_committed_and_then_answered_with_204(door: Door) -> None:
    [answer] = door.call(("POST", address(), callback_body()))
    assert (answer.status_code, answer.content) == (204, b"")
    [kept] = door.rows()
    assert (kept["outcome"], kept["po_number"], kept["repeats"], kept["size"]) == (
        *("accepted", PO, 0),
        len(callback_body()),
    )
    [order] = door.rows(ORDERS)
    assert (order["notice"], order["state"], order["next_look_at"]) == ("claimed", "Pending", door.clock.now)
    assert (door.woken, door.receiver.accepted) == (1, 1)


def test_a_duplicate_is_answered_alike_and_counted(door: Door) -> None:
    answers = door.call(*[("POST", address(), callback_body())] * 5)
    assert len({(answer.status_code, tuple(answer.headers.raw), answer.content) for answer in answers}) == 1
    [kept] = door.rows()
    assert kept["repeats"] == 4


def test_the_old_secret_is_believed_during_a_rotation(door: Door) -> None:
    assert door.post(callback_body(), secret=SECRETS[1]) == 204


def test_names_in_another_case_and_a_missing_id_are_understood(door: Door) -> None:
    body = callback_body(provider_id=None).replace(b"PONumber", b"ponumber").replace(b"Action", b"ACTION")
    assert door.post(body) == 204


def test_a_call_without_a_po_number_is_proven_by_the_order_it_names(door: Door) -> None:
    assert door.post(callback_body(None)) == 204
    assert door.post(callback_body(None), "demo-0002") == 404


def test_a_right_secret_for_an_order_not_stored_yet_waits(door: Door) -> None:
    assert door.post(callback_body("demo-0002", "BLK-2"), "demo-0002") == 204
    assert door.post(callback_body("demo-0002", "BLK-2"), "demo-0002") == 204
    [kept] = door.rows()
    assert (kept["outcome"], kept["repeats"], len(door.rows(ORDERS))) == ("waiting", 1, 1)


def test_a_call_before_the_posts_answer_is_taken(door: Door) -> None:
    asked, now = request("demo-0002"), door.clock.now
    door.store.write(lambda connection: ingest.place(connection, asked, source="form", actor=None, now=now))
    assert door.post(callback_body("demo-0002", "BLK-2"), "demo-0002") == 204
    assert {row["po_number"]: row["notice"] for row in door.rows(ORDERS)} == {PO: "none", "demo-0002": "claimed"}


def test_a_call_whose_po_number_came_back_garbled_is_taken_for_the_order_of_its_address(door: Door) -> None:
    assert door.post(callback_body("demo&#45;0001", "BLK-1")) == 204
    assert [(row["outcome"], row["po_number"]) for row in door.rows()] == [("accepted", PO)]
    assert door.rows(ORDERS)[0]["notice"] == "claimed"
    assert door.post(callback_body("demo-0002", "BLK-1")) == 404


def test_the_beginning_of_a_po_number_contradicts_no_address_and_completes_nothing(door: Door) -> None:
    """Another order may have that number: the address says whose the call is, and a poll the rest."""
    mine, beginning = "rewards-2026-11-30-001", "rewards-2026-11-30-0"
    now = door.clock.now

    def place(connection: sa.Connection) -> None:
        order_id = ingest.place(connection, request(mine), source="form", actor=None, now=now)
        address_book.store_addresses(connection, {order_id: f"https://console.example{address(mine)}"})
        ingest.discover(connection, shown("BLK-2", beginning), now, now, door.planner)

    door.store.write(place)
    assert door.post(callback_body(beginning, None), mine) == 204
    orders = {row["po_number"]: row for row in door.rows(ORDERS)}
    assert (orders[mine]["notice"], orders[mine]["state"]) == ("claimed", "Queued")
    assert (orders[beginning]["notice"], orders[beginning]["state"]) == ("none", "Pending")
    assert door.post(callback_body("rewards-2026-11-30-", None), mine) == 404


def test_a_call_that_names_another_order_is_refused_like_all_refusals_and_shown(door: Door) -> None:
    stranger = ("POST", WEBHOOK_PATH + "x" * 43, callback_body())
    foreign = ("POST", address(), callback_body(PO, "BLK-9"))
    first, second = door.call(stranger, foreign)
    assert (first.status_code, first.headers.raw) == (second.status_code, second.headers.raw)
    kept = next(row for row in door.rows() if row["order_id"])
    assert (kept["outcome"], kept["reason"]) == ("refused", "it names another order than its address")
    assert "BLK-9" in door.rows(ORDERS)[0]["attention"]


def test_nothing_of_an_address_or_a_body_is_kept_of_a_refusal(door: Door) -> None:
    door.post(b'{"Action": "canary-4711"}')
    door.call(("POST", WEBHOOK_PATH + "canary-4711".ljust(43, "x"), b"canary-4711"))
    assert "4711" not in str([dict(row) for row in door.rows()])


def test_no_secret_is_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="tracking"):
        door.call(("POST", address(), callback_body()), ("POST", address("demo-0002"), callback_body()))
    assert len(caplog.records) >= 2
    for po_number in (PO, "demo-0002"):
        assert addresses.make_token(po_number, SECRETS[0]) not in caplog.text


# The address proves, the body is a hint

OURS = "ours-0001"
ODD_BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "nothing": (b"", {}),
    "no JSON": (b"<xml/>", {"Content-Type": "text/xml"}),
    "half of it": (callback_body(OURS, "BLK-7")[:-5], {}),
    "bad UTF-8": (b'{"Action": "\xff\xfe"}', {}),
    "UTF-16": (
        callback_body(OURS, "BLK-7").decode().encode("utf-16"),
        {"Content-Type": "application/json; charset=utf-16"},
    ),
    "a lying charset": (callback_body(OURS, "BLK-7"), {"Content-Type": "application/json; charset=utf-32"}),
    "gzip": (gzip.compress(callback_body(OURS, "BLK-7")), {"Content-Encoding": "gzip"}),
    "not gzip at all": (callback_body(OURS, "BLK-7"), {"Content-Encoding": "gzip"}),
    "packed by brotli": (b"\x8b\x02\x80{}\x03", {"Content-Encoding": "br"}),
    "a bomb": (gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"}),
    "a list": (b"[" + callback_body(OURS, "BLK-7") + b"]", {}),
    "an empty list": (b"[]", {}),
    "a form": (b"PONumber=ours-0001&OrderId=BLK-7", {"Content-Type": "application/x-www-form-urlencoded"}),
    "deep JSON": (b"[" * 30_000, {}),
    "no order named": (b'{"Action": "FulfillmentComplete"}', {}),
    "an order named by a list": (b'{"Action": "FulfillmentComplete", "PONumber": ["ours-0001"], "OrderId": {}}', {}),
    "the PONumber twice": (b'{"PONumber": "ours-0001", "PONumber": "other"}', {}),
    "the PONumber in capitals": (callback_body("OURS-0001", None), {}),
    "an id that came later than the call": (callback_body(None, "BLK-8"), {}),
    "another action": (callback_body(OURS, "BLK-7").replace(b"FulfillmentComplete", b"OrderShipped"), {}),
    "an action of a wrong type": (callback_body(OURS, "BLK-7").replace(b'"FulfillmentComplete"', b"[1]"), {}),
    "a time of a wrong type": (b'{"PONumber": "ours-0001", "Timestamp": {"Seconds": 1}}', {}),
    "NaN for a time": (b'{"PONumber": "ours-0001", "Timestamp": NaN}', {}),
    "further fields": (b'{"PONumber": "ours-0001", "Extra": [[1]], "Status": null}', {}),
}


@pytest.fixture
def placed(door: Door) -> Door:
    """The door, with an order placed here whose POST has left and was not answered yet."""
    asked, now = request(OURS), door.clock.now

    def job(connection: sa.Connection) -> None:
        order_id = ingest.place(connection, asked, source="form", actor=None, now=now)
        address_book.store_addresses(connection, {order_id: f"https://console.example{address(OURS)}"})

    door.store.write(job)
    return door


@pytest.mark.parametrize("sent", ODD_BODIES.values(), ids=ODD_BODIES)
def test_nothing_in_a_body_or_its_headers_turns_a_proven_call_away(
    placed: Door, sent: tuple[bytes, dict[str, str]]
) -> None:
    body, headers = sent
    [answer] = placed.call(("POST", address(OURS), body), headers=headers)
    assert (answer.status_code, answer.content, placed.woken) == (204, b"", 1)
    [kept] = placed.rows()
    ours = next(row for row in placed.rows(ORDERS) if row["po_number"] == OURS)
    assert (kept["outcome"], kept["order_id"], kept["rule"]) == ("accepted", ours["id"], None)
    [again] = placed.call(("POST", address(OURS), body), headers=headers)
    assert (again.status_code, [row["repeats"] for row in placed.rows()]) == (204, [1])


@pytest.mark.parametrize("sent", ODD_BODIES.values(), ids=ODD_BODIES)
def test_a_proven_call_makes_its_order_due_whatever_its_body(placed: Door, sent: tuple[bytes, dict[str, str]]) -> None:
    later = placed.clock.now + timedelta(hours=1)
    known = {"provider_id": "BLK-7" if b"BLK-8" not in sent[0] else "BLK-8", "state": "Pending", "next_look_at": later}
    placed.store.write(lambda connection: orders.update_order(connection, 2, known))
    placed.call(("POST", address(OURS), sent[0]), headers=sent[1])
    ours = next(row for row in placed.rows(ORDERS) if row["po_number"] == OURS)
    assert (ours["next_look_at"], ours["next_look_why"]) == (placed.clock.now, "webhook received")
    names_another_action = b"OrderShipped" in sent[0] or b'\xff\xfe"}' in sent[0]
    assert ours["notice"] == ("none" if names_another_action else "claimed")


def test_what_cannot_be_read_of_a_proven_call_is_recorded_as_such(placed: Door) -> None:
    placed.call(("POST", address(OURS), b"<xml/>"), ("POST", address(OURS), b'{"Action": "FulfillmentComplete"}'))
    assert [(row["po_number"], row["reason"]) for row in placed.rows()] == [
        (OURS, "the body cannot be read"),
        (OURS, "the body names no order"),
    ]
    asyncio.run(placed.findings.flush(placed.store, placed.clock.now))
    with placed.store.read() as connection:
        fact = facts.get_fact(connection, FactKey.FINDINGS)
    assert fact is not None
    assert set(fact.value) == {"webhook: the body cannot be read", "webhook: the body names no order"}


def test_an_address_of_one_order_and_a_body_that_plainly_names_another_is_refused(placed: Door) -> None:
    assert placed.post(callback_body(PO, "BLK-1"), OURS) == 404
    [kept] = placed.rows()
    assert (kept["outcome"], kept["rule"], kept["po_number"], kept["provider_id"]) == (
        *("refused", "another order", PO),
        "BLK-1",
    )
    assert {row["notice"] for row in placed.rows(ORDERS)} == {"none"}


def test_an_address_under_a_secret_that_is_no_longer_ours_proves_nothing(placed: Door) -> None:
    old = address(OURS, "a-secret-of-long-ago")

    def job(connection: sa.Connection) -> None:
        address_book.store_addresses(connection, {2: old})

    placed.store.write(job)
    assert placed.call(("POST", old, b""))[0].status_code == 404


def test_no_address_is_stored_that_could_be_called(placed: Door) -> None:
    token = addresses.make_token(OURS, SECRETS[0])
    for table in SQLModel.metadata.tables.values():
        assert token not in str([dict(row) for row in placed.rows(table)])


def test_addresses_of_orders_sent_before_they_were_stored_are_added(door: Door) -> None:
    asked, now = request(OURS), door.clock.now
    door.store.write(lambda connection: ingest.place(connection, asked, source="form", actor=None, now=now))
    assert door.post(b"", OURS) == 404
    assert address_book.add_missing(door.store, SECRETS) == 1
    assert address_book.add_missing(door.store, SECRETS) == 0
    assert [door.post(b"", OURS, secret) for secret in SECRETS] == [204, 204]


# What is refused can be followed up


def test_a_refusal_keeps_where_it_came_from_which_rule_it_broke_and_what_it_named(door: Door) -> None:
    door.call(("POST", WEBHOOK_PATH + "x" * 43, callback_body("ann@example.com", "BLK-4711")), source="192.0.2.7")
    door.call(("GET", address(), b""), source="2001:db8::17")
    named, method = door.rows()
    assert [named[name] for name in ("source", "rule", "po_number", "provider_id")] == [
        *("192.0.2.7", "address", "a***@example.com", "BLK-4711")
    ]
    assert (named["size"], named["received_at"]) == (len(callback_body("ann@example.com", "BLK-4711")), NOW)
    assert [method[name] for name in ("source", "rule", "po_number", "method")] == [
        *("2001:db8::/64", "method", None, "GET")
    ]


def test_what_a_refused_call_named_is_cut(door: Door) -> None:
    door.call(("POST", WEBHOOK_PATH + "x" * 43, callback_body("x" * 190, None)))
    [kept] = door.rows()
    assert kept["po_number"] == "x" * 100


def test_every_refusal_is_counted_by_rule_also_those_of_which_nothing_else_is_kept(door: Door) -> None:
    door.call(*[STRANGER] * 50)
    door.call(("GET", address(), b""), ("POST", address(), callback_body(PO, "BLK-9")), source="192.0.2.1")
    assert len(door.rows()) < 52
    asyncio.run(door.receiver.flush())
    with door.store.read() as connection:
        fact = facts.get_fact(connection, FactKey.REFUSALS)
    assert fact is not None
    assert fact.value == {
        "counted": 52,
        "by_rule": {"address": 50, "method": 1, "another order": 1},
        "since": NOW.isoformat(),
    }


def test_what_could_not_be_counted_for_a_busy_store_is_counted_later(door: Door) -> None:
    with shut(door):
        door.call(("GET", address(), b""))
    asyncio.run(door.receiver.flush())
    with door.store.read() as connection:
        fact = facts.get_fact(connection, FactKey.REFUSALS)
    assert fact is not None
    assert fact.value["by_rule"] == {"method": 1}


# Floods


STRANGER = ("POST", WEBHOOK_PATH + "x" * 43, b"")


def test_a_flood_of_refusals_keeps_five_a_second_and_answers_all_alike(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="tracking.webhooks.refusals"):
        for source in range(3):
            answers = door.call(*[STRANGER] * 10, source=f"192.0.2.{source}")
            assert {answer.status_code for answer in answers} == {404}
    assert len(door.rows()) == len(caplog.records) == REFUSALS_STORED_PER_SECOND == 5
    assert door.receiver.refused == 30
    door.clock.pass_by(seconds=1)
    door.call(*[STRANGER] * 10, source="192.0.2.0")
    assert len(door.rows()) == 10


def test_a_source_beyond_its_allowance_costs_no_row_and_no_line(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.call(*[STRANGER] * 20)
    kept = len(door.rows())
    with caplog.at_level("DEBUG", logger="tracking"):
        answers = door.call(*[STRANGER] * 50)
    assert {(answer.status_code, tuple(answer.headers.raw), answer.content) for answer in answers} == {
        (404, ((b"content-length", b"0"),), b"")
    }
    assert (len(door.rows()), caplog.records) == (kept, [])
    door.clock.pass_by(seconds=1)
    door.call(STRANGER, STRANGER)
    assert len(door.rows()) == kept + 1


def test_a_genuine_call_beside_a_flood_from_its_own_address_is_taken(door: Door) -> None:
    door.call(*[STRANGER] * 30)
    assert door.post(callback_body()) == 204
    assert door.post(callback_body(None, "BLK-1", "04")) == 204
    assert door.woken == 2


def test_a_source_beyond_its_allowance_has_small_bodies_read_only(door: Door) -> None:
    sent = []

    async def large() -> AsyncIterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b" " * 1024

    door.call(*[STRANGER] * 30)
    assert door.post(b" " * LARGEST_BODY_OVER_LIMIT + callback_body()) == 404
    assert door.post(b" " * (LARGEST_BODY_OVER_LIMIT - 200) + callback_body()) == 204
    door.call(("POST", address(), large()))
    assert (len(sent), door.receiver.accepted) == (5, 1)


def test_a_stranger_makes_the_store_look_up_many_ids_at_once_with_few_reads(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = door.store.read
    monkeypatch.setattr(door.store, "read", lambda: reads.append(1) or read())  # type: ignore[func-returns-value]  # counts
    answers = door.call_at_once(*(("POST", address(), callback_body(None, f"BLK-{number}")) for number in range(100)))
    assert [answer.status_code for answer in answers] == [404, 204, *[404] * 98]
    assert len(reads) <= 3


def test_a_hundred_duplicates_at_once_are_few_steps_of_the_log_and_all_counted(door: Door) -> None:
    before = len(door.rows(EVENTS))
    answers = door.call_at_once(*[("POST", address(), callback_body())] * 100)
    assert {answer.status_code for answer in answers} == {204}
    [kept] = door.rows()
    assert (kept["repeats"], door.receiver.accepted) == (99, 100)
    assert len(door.rows(EVENTS)) - before <= 10
    assert door.rows(ORDERS)[0]["notice"] == "claimed"


def test_duplicates_that_could_not_be_stored_are_all_asked_to_come_again(door: Door) -> None:
    with shut(door):
        answers = door.call_at_once(*[("POST", address(), callback_body())] * 20)
    assert {answer.status_code for answer in answers} == {503}
    assert door.post(callback_body()) == 204
    assert door.rows()[0]["repeats"] == 0


def test_nothing_is_remembered_of_calls_that_are_over(door: Door) -> None:
    door.call_at_once(*[("POST", address(), callback_body())] * 5, *[STRANGER] * 5)
    assert door.receiver._commits.idle
    assert door.receiver._read_slots.sources == {}


def test_a_call_that_cannot_be_recorded_harms_none_that_came_with_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ingest.receive_webhook

    def stumbles(connection: Any, call: Any, *given: Any, **more: Any) -> str:
        if call.po_number == "demo-0003":
            raise ArithmeticError
        return real(connection, call, *given, **more)

    monkeypatch.setattr(ingest, "receive_webhook", stumbles)
    calls = [("POST", address(po_number), callback_body(po_number, None)) for po_number in (PO, "demo-0003", "demo-4")]
    with pytest.raises(ArithmeticError):
        door.call_at_once(*calls)
    assert {row["po_number"]: row["outcome"] for row in door.rows()} == {PO: "accepted", "demo-4": "waiting"}


def test_one_orders_address_cannot_make_anothers_call_pass_for_a_repeat(door: Door) -> None:
    """Whoever knows one order's address may tell lies of that order alone."""
    other = shown("BLK-2", "demo-0002")
    door.store.write(
        lambda connection: ingest.discover(connection, other, door.clock.now, door.clock.now, door.planner)
    )
    assert door.post(callback_body(PO, "BLK-2"), PO) == 404
    assert door.post(callback_body("demo-0002", "BLK-2"), "demo-0002") == 204
    assert {row["po_number"]: row["notice"] for row in door.rows(ORDERS)} == {PO: "none", "demo-0002": "claimed"}
    assert {row["outcome"]: row["po_number"] for row in door.rows()} == {"refused": PO, "accepted": "demo-0002"}


def test_both_secrets_are_compared_whatever_is_presented(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counted(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return compare(given, wanted)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    work = []
    for body, where in [
        (callback_body(), address()),
        (callback_body(), address(PO, SECRETS[1])),
        (callback_body(), STRANGER[1]),
        (callback_body("demo-0002"), address()),
        (callback_body(None, "BLK-404"), address()),
    ]:
        compared.clear()
        door.call(("POST", where, body))
        work.append([(len(given), len(wanted)) for given, wanted in compared])
    assert work == [[(43, 43), (43, 43)] * times for times in (1, 1, 2, 2, 2)]


def test_calls_make_the_provider_be_asked_once_in_thirty_seconds(door: Door, planner: PlanningContext) -> None:
    looked_at = []
    for second in range(0, 90, 3):
        door.clock.now = NOW + timedelta(seconds=second)
        door.post(callback_body(stamp=f"{second % 12 + 1:02d}"))
        due = door.rows(ORDERS)[0]["next_look_at"]
        if due <= door.clock.now:
            looked_at.append(second)
            later = door.clock.now + timedelta(hours=1)
            door.store.write(lambda connection: orders.update_order(connection, 1, {"next_look_at": later}))  # noqa: B023 - called at once
    assert looked_at == [0, 30, 60]


def test_a_clock_that_was_set_back_does_not_silence_refusals_for_long(door: Door) -> None:
    door.call(*[("POST", WEBHOOK_PATH + "x" * 43, b"")] * 5)
    door.clock.pass_by(days=-1)
    door.call(("POST", WEBHOOK_PATH + "x" * 43, b""))
    assert len(door.rows()) == 6


# A store that does not write


@contextlib.contextmanager
def shut(door: Door) -> Iterator[None]:
    """The store is busy for everybody."""

    def busy(_connection: Any) -> None:
        raise StoreBusy("locked")

    sa.event.listen(door.store._engine, "begin", busy)
    try:
        yield
    finally:
        sa.event.remove(door.store._engine, "begin", busy)


def test_a_proven_call_that_could_not_be_stored_is_answered_with_503_and_taken_later(door: Door) -> None:
    with shut(door):
        assert door.post(callback_body()) == 503
        assert door.post(b"") in {404, 503}
    assert door.rows() == []
    assert door.post(callback_body()) == 204
    assert door.woken == 1


def test_a_store_that_does_not_read_answers_right_and_wrong_addresses_alike(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> None:
        raise StoreBusy("locked")

    by_id, unknown, by_number = callback_body(None), callback_body(None, "BLK-404"), callback_body()
    wrong = WEBHOOK_PATH + "x" * 43
    with monkeypatch.context() as patch:
        patch.setattr(door.store, "read", busy)
        answers = door.call(
            *[("POST", where, body) for where in (address(), wrong) for body in (by_id, unknown)],
            ("POST", wrong, by_number),
        )
        assert door.post(by_number) == 204
    assert {(answer.status_code, tuple(answer.headers.raw), answer.content) for answer in answers} == {
        (503, tuple(answers[0].headers.raw), b"")
    }
    assert door.post(by_id) == 204
