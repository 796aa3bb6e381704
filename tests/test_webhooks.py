import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fakes import Clock, callback_body, request, shown
from sqlalchemy.engine import RowMapping
from starlette.applications import Starlette
from starlette.routing import Route

from tracking import callbacks, ingest, webhooks
from tracking.database import Database
from tracking.errors import StoreBusy
from tracking.ingest import Planner
from tracking.settings import WEBHOOK_PATH
from tracking.tables import CALLBACKS, EVENTS, ORDERS
from tracking.webhooks import LARGEST_BODY, REFUSALS_A_SECOND, Receiver

PO = "demo-0001"
SECRETS = ("the-new-secret-of-ours", "an-old-secret-of-ours")


class Door:
    """The receiver in an application, and what it left in the store."""

    def __init__(self, store: Database, planner: Planner, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.woken = 0
        self.receiver = Receiver(store, SECRETS, planner, clock=clock, woken=self._wake)
        paths = (WEBHOOK_PATH + "{token}", "/webhooks/{rest:path}")
        self.app = Starlette(routes=[Route(path, self.receiver) for path in paths])

    def _wake(self) -> None:
        self.woken += 1

    def call(self, *calls: tuple[str, str, Any]) -> list[httpx.Response]:
        """Method, address, body: all of them after one another."""

        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return [await client.request(method, address, content=body) for method, address, body in calls]

        return asyncio.run(run())

    def post(self, body: Any, po_number: str = PO, secret: str = SECRETS[0]) -> int:
        [answer] = self.call(("POST", address(po_number, secret), body))
        return answer.status_code

    def rows(self, table: sa.Table = CALLBACKS) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            return connection.execute(sa.select(table)).mappings().all()


def address(po_number: str = PO, secret: str = SECRETS[0]) -> str:
    return WEBHOOK_PATH + callbacks.token(po_number, secret)


@pytest.fixture
def door(store: Database, planner: Planner, clock: Clock) -> Door:
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    return Door(store, planner, clock)


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


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
    "another action": ("POST", address(), callback_body().replace(b"FulfillmentComplete", b"SendMoney")),
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
    assert (kept["outcome"], kept["order_id"], kept["po_number"], kept["digest"]) == ("refused", None, None, None)
    assert kept["reason"]
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
    monkeypatch.setattr(webhooks, "LARGEST_DRAINED", 128 * 1024)
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
    monkeypatch.setattr(webhooks, "SECONDS_TO_READ", 0.02)

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
        assert callbacks.token(po_number, SECRETS[0]) not in caplog.text


# Floods


def test_a_flood_of_refusals_keeps_five_a_second_and_answers_all_alike(door: Door) -> None:
    answers = door.call(*[("POST", WEBHOOK_PATH + "x" * 43, b"")] * 30)
    assert {answer.status_code for answer in answers} == {404}
    assert len(door.rows()) == REFUSALS_A_SECOND == 5
    assert door.receiver.refused == 30
    door.clock.pass_by(seconds=1)
    door.call(*[("POST", WEBHOOK_PATH + "x" * 43, b"")] * 30)
    assert len(door.rows()) == 10


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
        assert door.post(b"") == 404
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
    *alike, named = answers
    assert {(answer.status_code, tuple(answer.headers.raw), answer.content) for answer in alike} == {
        (503, tuple(alike[0].headers.raw), b"")
    }
    assert named.status_code == 404
    assert door.post(by_id) == 204
