"""A message that waits is skipped by a person: never sent, on record, and what waits behind it leaves."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from outgoing import ANN, Outgoing, ScriptedPoster

from tracking.access import Access, Person
from tracking.delivery import resending, skipping
from tracking.delivery.posting import Reply
from tracking.errors import InvalidNote, NotAllowed, NotPermitted
from tracking.reports.outgoing import hooks as reports
from tracking.reports.team.audit import AuditFilters, entries
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import erasure

WHY = "the receiver cannot take it, said bob@example.com"


def sent(poster: ScriptedPoster) -> list[str]:
    return [json.loads(body)["type"] for _, body in poster.posted]


def read(outgoing: Outgoing, number: int) -> reports.Delivery | None:
    return reports.delivery(outgoing.store, number)


def test_what_is_skipped_is_never_sent_and_what_waits_behind_it_leaves(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    order_id = outgoing.accepted()
    outgoing.polled(order_id, "Completed")
    poster = ScriptedPoster(Reply(422))
    assert outgoing.deliver(poster) == 1
    behind = {each: reports.waits_behind(outgoing.store, row) for each in (1, 3) if (row := read(outgoing, each))}
    assert {number: first and first.id for number, first in behind.items()} == {1: None, 3: 1}
    assert skipping.skip(outgoing.store, [1], WHY, by=ANN, now=outgoing.now) == 1
    assert outgoing.deliver(poster, minutes=1) == 2
    assert sent(poster) == ["order.accepted", "line.changed", "order.completed"]
    [skipped] = [row for row in outgoing.rows() if row["state"] == "skipped"]
    assert (skipped["id"], skipped["settled_by"], skipped["settled_why"]) == (1, "ann", WHY)
    acts = len(outgoing.rows(AUDIT_LOG))
    assert skipping.skip(outgoing.store, [1], "again", by=ANN, now=outgoing.now) == 0
    assert len(outgoing.rows(AUDIT_LOG)) == acts
    newest, *_ = entries(outgoing.store, AuditFilters()).entries
    assert (newest.who, newest.text, newest.po_number) == (
        "ann", "Had order.accepted to the outgoing webhook “crm” skipped", "demo-0001",
    )  # fmt: skip
    listed, _ = reports.delivery_page(outgoing.store, reports.DeliveryFilters(1, "skipped"))
    assert [reports.delivery_record(each)["settled_why"] for each in listed] == [WHY]
    assert erasure.erase(outgoing.store, "bob@example.com", by=ANN, now=outgoing.now).calls == 1
    assert "bob@" not in json.dumps([dict(row) for row in (*outgoing.rows(), *outgoing.rows(AUDIT_LOG))], default=str)
    resending.send_again(outgoing.store, [1], by=ANN, now=outgoing.now)
    assert outgoing.deliver(poster) == 1
    again = outgoing.rows()[0]
    assert (again["state"], again["settled_by"]) == ("delivered", None)


def test_only_what_waits_and_is_not_being_sent_can_be_skipped_all_or_none(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    outgoing.accepted()
    poster = ScriptedPoster()
    outgoing.deliver(poster)
    outgoing.accepted("demo-0002", "BLK-2")
    viewer = Person("vic", Access.VIEWER)
    with pytest.raises(NotPermitted):
        skipping.skip(outgoing.store, [2], WHY, by=viewer, now=outgoing.now)
    with pytest.raises(InvalidNote):
        skipping.skip(outgoing.store, [2], " ", by=ANN, now=outgoing.now)
    for numbers, why in (([2, 1], "it was delivered"), ([2, 9], "no message with the number 9")):
        with pytest.raises(NotAllowed, match=why):
            skipping.skip(outgoing.store, numbers, WHY, by=ANN, now=outgoing.now)
    asyncio.run(outgoing.deliverer(poster).begin_due(outgoing.now, 9))
    with pytest.raises(NotAllowed, match="is being sent just now"):
        skipping.skip(outgoing.store, [2], WHY, by=ANN, now=outgoing.now)
    assert [row["state"] for row in outgoing.rows()] == ["delivered", "waiting"]
    outgoing.clock.pass_by(minutes=2)  # whoever held it is gone
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(skipping.skip, outgoing.store, [2], WHY, by=ANN, now=outgoing.now) for _ in range(2)]
        assert sorted(each.result() for each in asked) == [0, 1]
    assert sum(row["kind"] == "webhook message skipped" for row in outgoing.rows(AUDIT_LOG)) == 1


def test_what_arrives_though_it_was_skipped_meanwhile_is_called_delivered(outgoing: Outgoing) -> None:
    class Hangs(ScriptedPoster):
        async def post(self, target: Any, payload: str, headers: Any) -> Reply:
            outgoing.clock.pass_by(minutes=5)  # beyond its lease: whoever sends it seems to be gone
            await asyncio.to_thread(skipping.skip, outgoing.store, [1], WHY, by=ANN, now=outgoing.now)
            return await super().post(target, payload, headers)

    outgoing.subscribe()
    outgoing.accepted()
    outgoing.deliver(Hangs())
    [row] = outgoing.rows()
    assert (row["state"], row["settled_by"], row["settled_why"]) == ("delivered", None, None)


def test_a_replay_sends_nothing_that_somebody_skipped_and_says_how_many_these_are(outgoing: Outgoing) -> None:
    outgoing.subscribe()
    began = outgoing.now
    outgoing.polled(outgoing.accepted(), "Completed")
    assert outgoing.deliver(ScriptedPoster(Reply(422))) == 1
    skipping.skip(outgoing.store, [1], WHY, by=ANN, now=outgoing.now)
    poster = ScriptedPoster()
    assert outgoing.deliver(poster, minutes=1) == 2
    end = outgoing.now + timedelta(seconds=1)
    assert resending.replay(outgoing.store, "crm", began, end, by=ANN, now=outgoing.now) == (2, 1)
    assert outgoing.deliver(poster, minutes=1) == 2
    assert sent(poster) == ["line.changed", "order.completed"] * 2
    assert [row["state"] for row in outgoing.rows()] == ["skipped", "delivered", "delivered"]
