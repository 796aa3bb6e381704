from __future__ import annotations

import asyncio
import gzip
import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import httpx
import pytest

from tracking.sandbox.database import WebhookDelivery
from tracking.sandbox.webhooks import odd_body

if TYPE_CHECKING:
    from sandbox.conftest import Desk

HOOK = "https://hooks.example.com/fulfillment?key=CANARY"


class Receiver:
    """Takes webhooks, or does not: the statuses it answers with, one after another, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses) or [204]
        self.bodies: list[dict[str, str]] = []
        self.urls: list[str] = []
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._take))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        self.urls.append(str(request.url))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)


def _pass(desk: Desk, seconds: int) -> None:
    """Let time pass, the background looking every second."""

    async def steps() -> None:
        assert desk.sandbox is not None
        for _ in range(seconds):
            desk.now += 1
            await desk.sandbox.step()

    asyncio.run(steps())


def test_a_completion_is_announced_once_in_the_documented_form(desk: Desk) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    order = desk.place("po", hook=HOOK)
    _pass(desk, 10)
    assert receiver.urls == [HOOK]
    assert receiver.bodies == [
        {
            "Action": "FulfillmentComplete",
            "OrderId": order["Id"],
            "PONumber": "po",
            "Timestamp": "01/15/2027 08:00:00 AM",
        }
    ]


def test_no_webhook_comes_before_completion_or_without_an_address(desk: Desk) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    order = desk.place("po", kind="DigitalDelivery", hook=HOOK)
    desk.place("quiet")
    while desk.read(order)["Status"] != "Completed":
        assert receiver.bodies == []
        _pass(desk, 1)
    assert len(receiver.bodies) == 1


def test_a_webhook_is_tried_again_with_growing_waits_until_it_is_taken(desk: Desk) -> None:
    receiver = Receiver(500, 0, 404, 302, 200)
    desk.start(webhook_client=receiver.client)
    desk.place("po", hook=HOOK)
    counts = []
    for _ in range(40):
        _pass(desk, 1)
        counts.append(len(receiver.bodies))
    assert [counts.index(count) for count in (1, 2, 3, 4, 5)] == [0, 1, 3, 7, 15]
    assert counts[-1] == 5
    assert all(body == receiver.bodies[0] for body in receiver.bodies)


def test_a_webhook_is_given_up_after_twenty_tries(desk: Desk) -> None:
    receiver = Receiver(500)
    desk.start(webhook_client=receiver.client, speed=1e6)
    desk.place("po", hook=HOOK)
    _pass(desk, 30)
    assert len(receiver.bodies) == 20


def test_pending_webhooks_and_their_waits_survive_a_restart(desk: Desk) -> None:
    receiver = Receiver(500, 204)
    desk.start(webhook_client=receiver.client)
    desk.place("po", hook=HOOK)
    _pass(desk, 1)
    desk.start(webhook_client=receiver.client)
    _pass(desk, 5)
    assert len(receiver.bodies) == 2


@pytest.mark.parametrize(
    ("word", "count"), [("duplicate-webhook", 3), ("lost-webhook", 0), ("cancelled", 0), ("never", 0)]
)
def test_words_in_the_note_choose_how_many_webhooks_come(desk: Desk, word: str, count: int) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    desk.place("po", note=f"[{word}]", hook=HOOK)
    _pass(desk, 100)
    assert len(receiver.bodies) == count
    assert all(body == receiver.bodies[0] for body in receiver.bodies)


def test_a_late_webhook_comes_five_minutes_late_and_states_the_true_time(desk: Desk) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    desk.place("po", note="[late-webhook]", hook=HOOK)
    _pass(desk, 299)
    assert receiver.bodies == []
    _pass(desk, 1)
    assert receiver.bodies[0]["Timestamp"] == "01/15/2027 08:00:00 AM"


def test_an_early_webhook_comes_before_the_order_shows_completed(desk: Desk) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    order = desk.place("po", note="[early-webhook]", hook=HOOK)
    while not receiver.bodies:
        _pass(desk, 1)
    assert desk.read(order)["Status"] == "Processing"
    assert desk.read(order, after=100)["Status"] == "Completed"


def test_a_foreign_webhook_names_another_order_before_the_right_one_comes(desk: Desk) -> None:
    receiver = Receiver()
    desk.start(webhook_client=receiver.client)
    order = desk.place("po", note="[foreign-webhook]", hook=HOOK)
    _pass(desk, 5)
    assert [body["OrderId"] == order["Id"] for body in receiver.bodies] == [False, True]


def test_the_background_sends_by_itself_and_logs_no_address(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = Receiver(500, 204)

    async def serve() -> None:
        assert desk.sandbox is not None
        async with desk.sandbox.running():
            for _ in range(400):
                desk.now += 0.1
                await asyncio.sleep(0.001)
                if len(receiver.bodies) == 2:
                    return

    desk.start(webhook_client=receiver.client)
    desk.place("po", hook=HOOK)
    asyncio.run(serve())
    assert len(receiver.bodies) == 2
    assert "CANARY" not in caplog.text
    assert "hooks.example.com" not in caplog.text


def test_one_slow_receiver_holds_up_no_other(desk: Desk) -> None:
    called: list[str] = []
    stuck = asyncio.Event()

    async def take(request: httpx.Request) -> httpx.Response:
        if request.url.host == "slow.example.com":
            await stuck.wait()
        called.append(request.url.host)
        return httpx.Response(204)

    async def serve() -> None:
        assert desk.sandbox is not None
        async with desk.sandbox.running():
            for _ in range(200):
                await asyncio.sleep(0.001)
                if called:
                    return

    desk.start(webhook_client=httpx.AsyncClient(transport=httpx.MockTransport(take)))
    desk.place("a", hook="https://slow.example.com/x")
    desk.place("b", hook="https://fast.example.com/x")
    asyncio.run(serve())
    assert called == ["fast.example.com"]


def test_odd_webhooks_come_in_six_ways_and_the_same_in_each_retry() -> None:
    call = {
        "Action": "FulfillmentComplete",
        "OrderId": "BLK-1",
        "PONumber": "po",
        "Timestamp": "01/15/2027 08:00:00 AM",
    }
    deliveries = [WebhookDelivery(number, HOOK, json.dumps(call), 0.0, 0) for number in range(6)]
    bodies = [odd_body(delivery)[0] for delivery in deliveries]
    assert len(set(bodies)) == 6
    assert bodies == [odd_body(delivery)[0] for delivery in deliveries]
    assert json.loads(bodies[0])["Timestamp"] == {"Seconds": 1764426000}
    assert json.loads(bodies[1].decode("utf-16")) == json.loads(gzip.decompress(bodies[2])) == call
    assert json.loads(bodies[3]) == [call]
    assert (dict(parse_qsl(bodies[4].decode())), bodies[5]) == (call, b"")
