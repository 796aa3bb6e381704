import asyncio
import ipaddress
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from emptying import emptied
from fakes import callback, line, order_json, request
from outgoing import ANN, THIS_MACHINE, URL, Outgoing, Receiver, ScriptedPoster

from tracking import ingest, tracing
from tracking.delivery import resending, subscribing
from tracking.delivery.posting import Poster, Reply, resolve
from tracking.delivery.signing import SecretCipher, signing_secrets
from tracking.delivery.targets import TargetRefused, check_ip, read_url
from tracking.errors import ClaimsUnavailable, NotAllowed
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Witness
from tracking.orders.observations import Declined, Observation, Polled, utc_now
from tracking.provider.responses import read_order
from tracking.reports.outgoing.hooks import hooks
from tracking.storage import engines, facts, orders
from tracking.storage.database import Database
from tracking.storage.integration import late_orders
from tracking.storage.integration.notifications import nobody_notified
from tracking.storage.integration.tables import DELIVERIES, SUBSCRIPTIONS
from tracking.storage.maintenance import restore_mark
from tracking.storage.tables import ORDERS
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import erasure

DOWN = Reply(error="connection refused: nothing listens there")
TWO = (line("CVS", 10, 1), line("AMAZON", 25, 1))


def test_each_event_is_written_with_it_for_whoever_wants_it(outgoing: Outgoing) -> None:
    outgoing.subscribe("all")
    outgoing.subscribe("completed alone", URL, "order.completed")
    outgoing.subscribe("other prefix", URL, po_prefix="ZZ-")
    outgoing.subscribe("prefix", URL, "order.accepted", po_prefix="DEMO-", order_type="Links", source="form")
    order_id = outgoing.accepted("demo-0001", "BLK-1", *TWO)
    outgoing.store.write(
        lambda connection: ingest.receive_webhook(connection, callback(), 9, outgoing.now, outgoing.planner)
    )
    assert [(row["subscription_id"], row["event_type"]) for row in outgoing.rows()] == [
        (1, "order.accepted"), (4, "order.accepted"),
    ]  # fmt: skip  # what a webhook claims is no completion
    outgoing.polled(order_id, "Completed", "demo-0001", "BLK-1", *TWO)
    after = [(row["subscription_id"], row["event_type"]) for row in outgoing.rows()][2:]
    assert after == [(1, "line.changed"), (1, "order.completed"), (2, "order.completed")]
    outgoing.polled(order_id, "Completed", "demo-0001", "BLK-1", *TWO)
    assert len(outgoing.rows()) == 5


def test_refusals_cancellations_and_what_needs_a_person_are_events(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    refused = outgoing.place("demo-0002")
    outgoing.observe(refused, Declined(422, "no such product"))
    cancelled = outgoing.accepted()
    outgoing.polled(cancelled, "Cancelled")
    expected = ["order.refused", "order.attention", "order.accepted", "order.cancelled", "order.attention"]
    assert [each for each in outgoing.types() if each != "line.changed"] == expected


def test_what_rolls_back_leaves_no_delivery_and_without_subscriptions_nothing_is_read(outgoing: Outgoing) -> None:
    statements: list[str] = []
    engine = outgoing.store._engine
    listener = lambda _c, _k, statement, *_: statements.append(statement)  # noqa: E731
    sa.event.listen(engine, "before_cursor_execute", listener)
    order_id = outgoing.accepted()
    for _ in range(3):
        outgoing.polled(order_id, "Pending")
    sa.event.remove(engine, "before_cursor_execute", listener)
    # Once, for the acceptance; polls that change nothing ask nobody.
    assert sum("subscriptions" in each for each in statements) == 1
    assert not any("deliveries" in each for each in statements)
    outgoing.subscribe()

    def fails(connection: sa.Connection) -> None:
        ingest.place(connection, request("demo-0009"), source="form", actor=None, now=outgoing.now)
        stored = orders.find_order(connection, order_id=order_id)
        assert stored is not None
        raw = read_order(order_json("BLK-1", status="Completed"))
        _observe(connection, outgoing, order_id, raw)
        raise NotAllowed("no")

    with pytest.raises(NotAllowed):
        outgoing.store.write(fails)
    assert not outgoing.rows()


def _observe(connection: sa.Connection, outgoing: Outgoing, order_id: int, parsed: Any) -> None:
    observation = Observation(Witness.POLL, outgoing.now, outgoing.now, Polled(parsed.snapshot))
    ingest.observe(connection, order_id, observation, outgoing.planner, parsed=parsed)


def test_a_past_that_is_written_notifies_nobody_and_what_was_long_there_is_history(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    old = outgoing.now - timedelta(days=2)

    def discover(number: int, status: str, *, quiet: bool, created_at: Any = old) -> None:
        raw = order_json(f"BLK-{number}", f"old-{number}", status, created_at=created_at)

        def job(connection: sa.Connection) -> None:
            if quiet:
                with nobody_notified(connection):
                    ingest.discover(connection, read_order(raw), outgoing.now, outgoing.now, outgoing.planner)
            else:
                ingest.discover(connection, read_order(raw), outgoing.now, outgoing.now, outgoing.planner)

        outgoing.store.write(job)

    discover(1, "Completed", quiet=False)
    discover(2, "Completed", quiet=True, created_at=outgoing.now)
    assert outgoing.types() == []
    discover(3, "Completed", quiet=False, created_at=outgoing.now - timedelta(minutes=5))
    assert outgoing.types() == ["order.accepted", "line.changed", "order.completed"]


def test_a_receiver_verifies_what_it_gets_and_after_an_outage_has_all_of_it_in_order(
    outgoing: Outgoing, receiver: Receiver
) -> None:
    receiver.secret = outgoing.subscribe("crm", receiver.url)
    poster = Poster(THIS_MACHINE)
    outgoing.clock.now = utc_now()
    first = outgoing.accepted("demo-0001", "BLK-1")
    outgoing.deliver(poster)
    [(first_id, message)] = receiver.messages
    assert message["type"] == "order.accepted"
    assert message["data"]["order"]["po_number"] == "demo-0001"
    assert message["data"]["order"]["state"] == "Pending"
    assert message["data"]["event"]["id"] == first_id
    receiver.__exit__()
    second = outgoing.accepted("demo-0002", "BLK-2")
    outgoing.polled(first, "Completed")
    assert outgoing.deliver(poster) > 0
    outgoing.polled(second, "Completed", "demo-0002", "BLK-2")
    assert outgoing.deliver(poster, seconds=20) == 1, "while it fails one alone is tried"
    failed = {row["message_id"] for row in outgoing.rows() if row["attempts"]} - {first_id}
    receiver.__enter__()
    outgoing.deliver(poster, minutes=2)
    assert outgoing.row()["failures"] == 0
    outgoing.deliver(poster, minutes=2)  # what was tried more than once waits for a little longer
    ids = [message_id for message_id, _ in receiver.messages]
    assert len(set(ids)) == len(ids) == len(outgoing.rows())
    assert failed <= set(ids)
    for order in ("demo-0001", "demo-0002"):
        types = [each["type"] for _, each in receiver.messages if each["data"]["order"]["po_number"] == order]
        assert types == ["order.accepted", "line.changed", "order.completed"]
    assert {row["state"] for row in outgoing.rows()} == {"delivered"}
    assert "query-canary" not in json.dumps([dict(row) for row in outgoing.attempts()], default=str)


def test_every_attempt_sends_the_same_bytes_of_the_order_as_it_was_then(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    order_id = outgoing.accepted()
    poster = ScriptedPoster(DOWN)
    outgoing.deliver(poster)
    outgoing.polled(order_id, "Completed")
    outgoing.deliver(poster, minutes=1)
    [first, again, lines, completed] = poster.posted
    assert first == again
    assert json.loads(again[1])["data"]["order"]["state"] == "Pending"
    assert json.loads(lines[1])["data"]["lines"] == [{"status": "Completed", "numbers": [1]}]
    assert json.loads(completed[1])["data"]["order"]["completed_by"] is not None


def test_a_delivery_is_a_step_of_its_orders_trace(outgoing: Outgoing) -> None:
    outgoing.subscribe("all", URL, "order.completed")
    order_id = outgoing.accepted()
    outgoing.polled(order_id, "Completed")
    steps: list[tracing.Step] = []
    tracing.collect(steps.append)
    try:
        outgoing.deliver(ScriptedPoster(DOWN))
    finally:
        tracing.collect(None)
    [step] = steps
    assert (step.name, step.po_number, step.error) == ("webhook sent", "demo-0001", DOWN.error)
    assert step.attributes["webhook.event"] == "order.completed"


def test_what_is_made_late_is_made_from_the_log(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    order_id = outgoing.accepted()
    outgoing.polled(order_id, "Completed")
    poster = ScriptedPoster()
    outgoing.deliver(poster)
    states = [json.loads(body)["data"]["order"]["state"] for _, body in poster.posted]
    assert states == ["Pending", "Completed", "Completed"]


def test_one_order_that_is_refused_holds_up_no_other_and_none_overtakes_in_an_order(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    first = outgoing.accepted("demo-0001", "BLK-1")
    poster = ScriptedPoster(Reply(400, "no such order"))
    outgoing.deliver(poster)
    outgoing.polled(first, "Completed")
    outgoing.accepted("demo-0002", "BLK-2")
    outgoing.deliver(poster)
    types = [json.loads(body)["data"]["order"]["po_number"] for _, body in poster.posted]
    assert types == ["demo-0001", "demo-0002"]
    outgoing.deliver(poster, seconds=10)
    assert [row["state"] for row in outgoing.rows()] == ["delivered"] * 4
    assert [(row["delivery_id"], row["number"], row["status"]) for row in outgoing.attempts()] == [
        (1, 1, 400), (1, 2, 204), (2, 1, 204), (3, 1, 204), (4, 1, 204),
    ]  # fmt: skip


def test_one_delivery_that_is_refused_for_three_days_switches_off_though_others_get_through(
    outgoing: Outgoing,
) -> None:
    outgoing.subscribe()
    outgoing.accepted("demo-0001", "BLK-1")

    class Refusing(ScriptedPoster):
        async def post(self, target: Any, payload: str, headers: Any) -> Reply:
            refused = json.loads(payload)["data"]["order"]["po_number"] == "demo-0001"
            return Reply(400, "no such order") if refused else Reply(204)

    poster = Refusing()
    for day in range(3):
        outgoing.accepted(f"demo-1{day}", f"BLK-1{day}")
        for _ in range(12):
            outgoing.deliver(poster, hours=2, minutes=30 if day else 0)
    assert outgoing.row()["state"] == "switched off"
    assert "refused for three days" in outgoing.row()["state_why"]
    subscribing.resume(outgoing.store, "crm", by=ANN, now=outgoing.now)
    outgoing.deliver(poster, hours=3)
    assert outgoing.row()["state"] == "active", "a person who resumed it has three more days"


def test_a_receiver_that_fails_for_three_days_is_switched_off_and_resumed_gets_all(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    poster = ScriptedPoster(*[DOWN] * 100)
    outgoing.deliver(poster)
    for _ in range(80):
        outgoing.deliver(poster, hours=1)
    row = outgoing.row()
    assert (row["state"], row["state_why"]) == ("switched off", "nothing was delivered for three days")
    tries = len(poster.posted)
    assert 25 < tries < 80
    outgoing.accepted("demo-0002", "BLK-2")
    assert outgoing.deliver(poster, days=1) == 0, "what happens meanwhile waits"
    poster.replies.clear()
    subscribing.resume(outgoing.store, "crm", by=ANN, now=outgoing.now)
    outgoing.deliver(poster, hours=3)
    assert {each["state"] for each in outgoing.rows()} == {"delivered"}
    with outgoing.store.read() as connection:
        kinds = connection.execute(sa.select(AUDIT_LOG.c.kind).order_by(AUDIT_LOG.c.seq)).scalars().all()
    assert kinds == ["webhook added", "webhook switched off", "webhook resumed"]


def test_a_receiver_that_is_gone_is_switched_off_at_once_and_retry_after_is_obeyed(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    poster = ScriptedPoster(Reply(503, None, "600"))
    outgoing.deliver(poster)
    assert outgoing.deliver(poster, seconds=590) == 0
    poster.replies.append(Reply(410))
    assert outgoing.deliver(poster, seconds=20) == 1
    assert outgoing.row()["state"] == "switched off"


def test_nothing_is_sent_to_a_receiver_while_its_failure_is_being_stored(
    outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    deliverer = outgoing.deliverer(ScriptedPoster(*[DOWN] * 9))
    post, store, meanwhile = deliverer._post, outgoing.store.run, []

    async def store_later(step: Any, **options: Any) -> Any:
        monkeypatch.setattr(outgoing.store, "run", store)
        meanwhile.append(await deliverer.begin_due(outgoing.now, 9))
        return await store(step, **options)

    async def post_then_store_later(*what: Any) -> Reply:
        reply = await post(*what)
        monkeypatch.setattr(outgoing.store, "run", store_later)
        return reply

    async def run() -> None:
        await asyncio.gather(*map(deliverer.deliver, await deliverer.begin_due(outgoing.now, 9)))
        outgoing.accepted("demo-0002", "BLK-2")
        outgoing.clock.pass_by(seconds=7)
        monkeypatch.setattr(deliverer, "_post", post_then_store_later)
        [one] = await deliverer.begin_due(outgoing.now, 9)
        await deliverer.deliver(one)
        assert await deliverer.begin_due(outgoing.now, 9) == []

    asyncio.run(run())
    assert meanwhile == [[]]
    assert outgoing.row()["failures"] == 2


def test_two_that_deliver_at_once_never_hold_the_same_delivery(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    for number in range(6):
        order_id = outgoing.accepted(f"demo-{number}", f"BLK-{number}")
        outgoing.polled(order_id, "Completed", f"demo-{number}", f"BLK-{number}")
    poster = ScriptedPoster()
    both = [outgoing.deliverer(poster, f"here/{number}/a") for number in (1, 2)]

    async def run() -> int:
        posts = 0
        while True:
            leased = await asyncio.gather(*(each.begin_due(outgoing.now, 32) for each in both))
            held = [one.row["order_id"] for one in itertools.chain(*leased)]
            assert len(set(held)) == len(held), "of an order one at a time"
            if not held:
                return posts
            posts += len(held)
            await asyncio.gather(*(each.deliver(one) for each, mine in zip(both, leased, strict=True) for one in mine))

    assert asyncio.run(run()) == len(outgoing.rows()) == 18
    assert len({message_id for message_id, _ in poster.posted}) == 18


def test_a_lease_of_one_that_died_ends_and_the_same_is_sent_again(outgoing: Outgoing) -> None:
    class Slow(ScriptedPoster):
        async def post(self, *what: Any) -> Reply:
            assert await asyncio.to_thread(outgoing.deliver, poster, seconds=61) == 1
            return await super().post(*what)

    outgoing.subscribe()
    order_id = outgoing.accepted()
    poster, slow, stopped = ScriptedPoster(), Slow(), ScriptedPoster()
    held_up, slowly = outgoing.deliverer(stopped, "here/2/b"), outgoing.deliverer(slow, "here/3/c")
    [held] = asyncio.run(held_up.begin_due(outgoing.now, 9))
    assert outgoing.deliver(poster, seconds=30) == 0
    outgoing.clock.pass_by(seconds=31)
    [taken] = asyncio.run(slowly.begin_due(outgoing.now, 9))
    asyncio.run(slowly.deliver(taken))  # meanwhile its lease ends, and another process posts the same
    outgoing.polled(order_id, "Completed")
    assert outgoing.deliver(poster) == 2
    asyncio.run(held_up.deliver(held))
    assert stopped.posted == [], "the first one lived after all, and what comes after it was sent"
    assert [row["state"] for row in outgoing.rows()] == ["delivered"] * 3
    assert [(row["delivery_id"], row["number"]) for row in outgoing.attempts()] == [(1, 1), (1, 2), (2, 1), (3, 1)]
    assert slow.posted == poster.posted[:1]


def test_what_was_planned_before_the_clock_was_set_back_is_sent_soon(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    poster = ScriptedPoster(DOWN, DOWN)
    outgoing.deliver(poster)
    outgoing.accepted("demo-0002", "BLK-2")
    asyncio.run(outgoing.deliverer(poster).begin_due(outgoing.now + timedelta(minutes=1), 9))
    assert outgoing.deliver(poster, days=-2) == 0
    asyncio.run(outgoing.deliverer(poster).tidy())
    assert outgoing.deliver(poster) == 1, "one delivery asks whether the receiver is there again"
    row = outgoing.row()
    assert (row["failures"], row["failing_since"], row["failed_at"]) == (2, outgoing.now, outgoing.now)
    assert outgoing.deliver(poster, seconds=61) == 2


def test_from_a_store_that_was_restored_nothing_leaves_before_it_is_reconciled(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    outgoing.clock.now = outgoing.rows(ORDERS)[0]["late_at"] + timedelta(seconds=1)
    outgoing.store.write(lambda connection: restore_mark.mark_restored(connection, outgoing.now, outgoing.now))
    poster = ScriptedPoster()
    assert outgoing.deliver(poster) == 0
    asyncio.run(outgoing.deliverer(poster).note_late_orders())
    assert outgoing.types() == ["order.accepted"], "the order may have completed since the backup"
    outgoing.store.write(lambda connection: restore_mark.remove_mark(connection, {}, outgoing.now))
    asyncio.run(outgoing.deliverer(poster).note_late_orders())
    assert outgoing.deliver(poster) == 2


def test_an_answer_whose_body_never_ends_is_an_answer() -> None:
    async def run() -> Reply:
        ended = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nthanks")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            ended.set()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            target = read_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", THIS_MACHINE)
            reply = await Poster(THIS_MACHINE, seconds=0.3).post(target, "{}", {})
            await ended.wait()
        return reply

    assert asyncio.run(run()) == Reply(200, "thanks")


def test_whatever_a_receiver_answers_or_brings_about_is_recorded_and_counted(
    outgoing: Outgoing, caplog: pytest.LogCaptureFixture
) -> None:
    class Surprised(Poster):
        async def _post(self, *_: Any) -> Reply:
            raise RuntimeError("url-canary")

    outgoing.subscribe()
    outgoing.accepted()
    late = "Fri, 1 Jan 2027 00:00:00 +99999999999999999999"
    assert outgoing.deliver(ScriptedPoster(Reply(503, None, late))) == 1
    assert outgoing.deliver(Surprised(), minutes=1) == 1
    assert [(row["status"], row["error"]) for row in outgoing.attempts()] == [
        (503, None), (None, "it could not be posted (RuntimeError)"),
    ]  # fmt: skip
    assert outgoing.row()["failures"] == 2
    assert ("RuntimeError" in caplog.text, "url-canary" in caplog.text) == (True, False)


def test_names_are_resolved_whatever_holds_the_threads_of_the_loop() -> None:
    async def run() -> list[str]:
        held, threads = threading.Event(), ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(threads)
        waits = asyncio.ensure_future(asyncio.to_thread(held.wait, 5))
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(3):
                return list(await resolve("127.0.0.1", 443))
        finally:
            held.set()
            await waits

    assert asyncio.run(run()) == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["fec0::1", "192.0.0.8", "192.88.99.1", "3fff::1", "64:ff9b::7f00:1", "ff0e::1"])
def test_addresses_that_are_not_of_the_public_internet_are_not_sent_to(address: str) -> None:
    with pytest.raises(TargetRefused):
        check_ip(ipaddress.ip_address(address), "https", ())


def test_an_order_that_becomes_late_is_told_of_once(outgoing: Outgoing) -> None:
    outgoing.subscribe("late", URL, "order.late")
    order_id = outgoing.accepted()
    deliverer = outgoing.deliverer(ScriptedPoster())

    def look(**later: float) -> int:
        outgoing.clock.pass_by(**later)
        asyncio.run(deliverer.note_late_orders())
        return len(outgoing.rows())

    assert look() == 0
    late_at = outgoing.rows(ORDERS)[0]["late_at"]
    outgoing.clock.now = late_at - timedelta(seconds=1)
    assert look() == 0
    assert look(seconds=2) == 1
    assert look(minutes=5) == 1
    _move(outgoing, order_id, late_at - timedelta(minutes=1))
    assert look(minutes=5) == 1, "it was late all along"
    _move(outgoing, order_id, outgoing.now + timedelta(hours=1))
    assert look(minutes=5) == 1
    assert look(hours=1) == 2, "late once more"
    poster = ScriptedPoster()
    outgoing.deliver(poster)
    assert [json.loads(body)["type"] for _, body in poster.posted] == ["order.late", "order.late"]
    assert len({message_id for message_id, _ in poster.posted}) == 2


def test_an_order_that_became_late_while_nobody_polled_is_told_of_once_a_poll_found_it_open(outgoing: Outgoing) -> None:
    outgoing.subscribe("late", URL, "order.late")
    open_id, complete_id = outgoing.accepted(), outgoing.accepted("demo-0002", "BLK-2")
    deliverer = outgoing.deliverer(ScriptedPoster())

    def look(beats: int = 1) -> int:
        for _ in range(beats):
            outgoing.clock.pass_by(seconds=10)
            outgoing.store.write(partial(facts.beat, loop="poller", owner="a", value={}, now=outgoing.now))
        asyncio.run(deliverer.note_late_orders())
        return len(outgoing.rows())

    assert look() == 0
    outgoing.clock.now = outgoing.rows(ORDERS)[0]["late_at"] + timedelta(hours=1)  # none of our processes ran
    asyncio.run(deliverer.note_late_orders())
    assert look(6) == 0
    outgoing.polled(complete_id, "Completed", "demo-0002", "BLK-2")
    assert look() == 0
    outgoing.polled(open_id, "Processing")
    assert look() == 1
    assert look(6) == 1


def test_what_could_not_be_polled_since_a_start_is_told_of_in_the_end(outgoing: Outgoing) -> None:
    outgoing.subscribe("late", URL, "order.late")
    outgoing.accepted()
    outgoing.store.write(partial(facts.beat, loop="poller", owner="a", value={}, now=outgoing.now))
    outgoing.clock.now = outgoing.rows(ORDERS)[0]["late_at"] + timedelta(hours=1)
    for minute in range(1, 12):
        for _ in range(6):
            outgoing.store.write(partial(facts.beat, loop="poller", owner="a", value={}, now=outgoing.now))
            outgoing.clock.pass_by(seconds=10)
        asyncio.run(outgoing.deliverer(ScriptedPoster()).note_late_orders())
        assert len(outgoing.rows()) == (minute >= 10)


def _move(outgoing: Outgoing, order_id: int, late_at: Any) -> None:
    def job(connection: sa.Connection) -> None:
        orders.update_order(connection, order_id, {"late_at": late_at})
        late_orders.look_again(connection, outgoing.now)

    outgoing.store.write(job)


def test_what_was_late_before_the_subscription_or_when_it_was_first_seen(outgoing: Outgoing) -> None:
    outgoing.accepted()
    outgoing.clock.pass_by(days=3)
    outgoing.subscribe("late", URL, "order.late")
    asyncio.run(outgoing.deliverer(ScriptedPoster()).note_late_orders())
    assert outgoing.rows() == []


def test_who_subscribed_before_the_clock_was_set_back_is_notified_of_late_orders(outgoing: Outgoing) -> None:
    outgoing.subscribe("late", URL, "order.late")
    outgoing.clock.pass_by(hours=-1)
    outgoing.accepted()
    outgoing.clock.now = outgoing.rows(ORDERS)[0]["late_at"] + timedelta(seconds=1)
    deliverer = outgoing.deliverer(ScriptedPoster())
    for _ in range(2):
        asyncio.run(deliverer.note_late_orders())
        assert len(outgoing.rows()) == 1


def test_people_have_deliveries_sent_again_and_spans_replayed(outgoing: Outgoing) -> None:
    order_id = outgoing.accepted()
    outgoing.subscribe()
    outgoing.clock.pass_by(seconds=1)
    outgoing.polled(order_id, "Completed")
    poster = ScriptedPoster()
    outgoing.deliver(poster)
    before = list(poster.posted)
    assert [json.loads(body)["type"] for _, body in before] == ["line.changed", "order.completed"]
    assert resending.send_again(outgoing.store, [2], by=ANN, now=outgoing.now) == 1
    outgoing.deliver(poster)
    assert poster.posted[2:] == before[1:]
    assert outgoing.attempts()[-1]["by"] == "ann"
    span = outgoing.now - timedelta(hours=1), outgoing.now + timedelta(seconds=1)
    assert resending.replay(outgoing.store, "crm", *span, by=ANN, now=outgoing.now) == (3, 0)
    outgoing.deliver(poster)
    replayed = poster.posted[3:]
    assert [json.loads(body)["type"] for _, body in replayed] == ["order.accepted", "line.changed", "order.completed"]
    assert replayed[1:] == before
    with pytest.raises(NotAllowed):
        resending.send_again(outgoing.store, [99], by=ANN, now=outgoing.now)


def test_what_is_paused_waits_what_is_removed_is_dropped_and_what_is_old_leaves(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    subscribing.pause(outgoing.store, "crm", by=ANN, now=outgoing.now)
    order_id = outgoing.accepted()
    poster = ScriptedPoster()
    assert outgoing.deliver(poster) == 0
    subscribing.resume(outgoing.store, "crm", by=ANN, now=outgoing.now)
    assert outgoing.deliver(poster) == 1
    outgoing.polled(order_id, "Completed")
    subscribing.remove(outgoing.store, "crm", by=ANN, now=outgoing.now)
    assert outgoing.deliver(poster) == 0
    deliverer = outgoing.deliverer(poster)
    asyncio.run(deliverer.tidy())
    assert [row["state"] for row in outgoing.rows()] == ["delivered", "dropped", "dropped"]
    assert outgoing.row()["secrets"] == []
    assert outgoing.row()["url"] == ""
    outgoing.subscribe()  # the name is free
    outgoing.accepted("demo-0002", "BLK-2")
    outgoing.clock.pass_by(days=31)
    asyncio.run(deliverer.tidy())
    assert outgoing.rows() == []
    assert outgoing.attempts() == []


@pytest.mark.postgres
def test_from_when_on_a_subscription_gets_all_is_said_truly_whatever_is_under_way(
    postgres_store: Database, planner: PlanningContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads the subscriptions, and commits its event only after one was added."""
    outgoing = Outgoing(postgres_store, planner)
    other = engines.make_engine(postgres_store.url, writes=True)
    monkeypatch.setattr(subscribing, "SETTLE_SECONDS", 0.1)
    try:
        order_id = outgoing.accepted()
        with other.connect() as late, ThreadPoolExecutor(1) as pool:
            begun = late.begin()
            _observe(late, outgoing, order_id, read_order(order_json("BLK-1", status="Completed")))
            outgoing.subscribe("too late for it")
            assert outgoing.row()["receives_from"] is None
            asyncio.run(outgoing.deliverer(ScriptedPoster()).tidy())
            assert outgoing.row()["receives_from"] is None
            monkeypatch.setattr(subscribing, "SETTLE_SECONDS", 60.0)
            adding = pool.submit(outgoing.subscribe, "waits for it")
            with pytest.raises(TimeoutError):
                adding.result(0.3)
            begun.commit()
            adding.result(30)
        assert outgoing.rows() == []
        begins = [row["receives_from"] - outgoing.now for row in outgoing.rows(SUBSCRIPTIONS)]
        assert all(begin > timedelta(seconds=0.3) for begin in begins)
        outgoing.accepted("demo-0002", "BLK-2")
        assert [row["subscription_id"] for row in outgoing.rows()] == [
            row["id"] for row in outgoing.rows(SUBSCRIPTIONS)
        ]
    finally:
        other.dispose()
        outgoing.store.write(emptied)


def test_secrets_overlap_and_are_nowhere_in_the_clear(outgoing: Outgoing, receiver: Receiver) -> None:
    outgoing.clock.now = utc_now()
    old = outgoing.subscribe("crm", receiver.url)
    how: dict[str, Any] = {"cipher": outgoing.cipher, "by": ANN}
    new = subscribing.rotate(outgoing.store, "crm", **how, now=outgoing.now)
    poster = Poster(THIS_MACHINE)
    for secret in (old, new):
        receiver.secret = secret
        order = f"demo-{secret is new}"
        outgoing.accepted(order, f"BLK-{order}")
        outgoing.deliver(poster)
    assert len(receiver.messages) == 2
    stored = json.dumps(
        [dict(row) for table in (SUBSCRIPTIONS, DELIVERIES) for row in outgoing.rows(table)], default=str
    )
    assert old.text not in stored
    assert "hook?key=query-canary" not in stored
    assert new.text not in stored
    assert old.text not in repr(old)
    later = outgoing.now + timedelta(hours=25)
    assert signing_secrets(outgoing.row(), outgoing.cipher, later) == [new]


def test_addresses_are_encrypted_those_of_an_earlier_version_at_a_start(outgoing: Outgoing) -> None:
    secret_url = "https://hooks.example.com/services/T0/kanari-path?key=kanari-query"
    outgoing.subscribe("crm", secret_url)
    assert (outgoing.row()["url"], outgoing.cipher.address_of(outgoing.row())) == (
        "https://hooks.example.com/#encrypted", secret_url,
    )  # fmt: skip
    with pytest.raises(TargetRefused):  # by an earlier version, which reads it as the whole address
        read_url(outgoing.row()["url"])
    earlier = sa.update(SUBSCRIPTIONS).values(url=secret_url, sealed_url=None)
    outgoing.store.write(lambda connection: connection.execute(earlier))
    assert outgoing.cipher.address_of(outgoing.row()) == secret_url
    with pytest.raises(ClaimsUnavailable):
        subscribing.seal_addresses(outgoing.store, SecretCipher(()))
    for sealed in (1, 0):
        assert subscribing.seal_addresses(outgoing.store, outgoing.cipher) == sealed
    assert "kanari" not in json.dumps(dict(outgoing.row()), default=str)
    assert outgoing.cipher.address_of(outgoing.row()) == secret_url
    [hook] = hooks(outgoing.store)
    assert (hook.url, hook.host) == ("https://hooks.example.com/...", "hooks.example.com")
    outgoing.subscribe("other", secret_url)
    moved = dict(outgoing.rows(SUBSCRIPTIONS)[0]) | {"sealed_url": outgoing.rows(SUBSCRIPTIONS)[1]["sealed_url"]}
    with pytest.raises(ClaimsUnavailable, match="for another subscription"):
        outgoing.cipher.address_of(moved)


def test_an_erasure_reaches_bodies_that_wait_and_what_receivers_answered(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    person = "bob@example.com"
    mail = line("CVS", 10, 1, DigitalDeliveryAddress={"Email": person})
    order_id = outgoing.place("demo-0001", mail, kind="DigitalDelivery")
    outgoing.observe(order_id, Declined(422, "no such product"))
    poster = ScriptedPoster(Reply(500, person))
    outgoing.deliver(poster)
    assert person not in poster.posted[0][1], "no body names anybody"
    planted = sa.update(DELIVERIES).values(payload=json.dumps({"to": person}))
    outgoing.store.write(lambda connection: connection.execute(planted))
    assert erasure.erase(outgoing.store, person, by=ANN, now=outgoing.now).calls >= 2
    assert person not in json.dumps([dict(row) for row in (*outgoing.rows(), *outgoing.attempts())], default=str)
    outgoing.deliver(poster, minutes=1)
    assert poster.posted[1] == poster.posted[0], "made anew, it is what it was"
