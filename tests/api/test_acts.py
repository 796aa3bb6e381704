"""Operators' tokens act once for each key, whatever is lost, repeated or killed; viewers' tokens do not act."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from api_client import ANN, Ask
from fakes import Clock, line, request
from histories import History

from tracking.api.acts import Acts, Submission
from tracking.api.callers.tokens import Caller, find_caller, revoke_token
from tracking.api.edge import Api
from tracking.api.problems import Refusal
from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.reports.team.audit import AuditFilters, entries
from tracking.storage.database import Database
from tracking.storage.integration import requests
from tracking.storage.integration.tables import API_REQUESTS, API_TOKENS
from tracking.storage.tables import EVENTS, ORDERS, OUTBOX
from tracking.storage.team import approval_rule

ONE = dict(request("po-1").document)
Submit = Callable[..., httpx.Response]


@pytest.fixture
def submit(ask: Ask) -> Submit:
    def submitted(
        document: Any, key: str | None = "key-1", *, token: str = "operator", query: str = ""
    ) -> httpx.Response:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return ask(f"/api/v1/orders{query}", "POST", token=token, headers=headers, content=json.dumps(document))

    return submitted


def placed(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(ORDERS.c.po_number).order_by(ORDERS.c.id)).scalars())


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("#")[2]


def test_a_submission_is_queued_once_and_answered_alike(store: Database, clock: Clock, submit: Submit) -> None:
    first = submit(ONE)
    assert (first.status_code, first.json()) == (
        201,
        {"orders": [{"po_number": "po-1", "outcome": "queued", "message": ""}]},
    )
    clock.now += timedelta(hours=23)
    assert (submit(ONE).status_code, submit(ONE).content) == (201, first.content)
    assert kind(submit(dict(request("po-2").document))) == (422, "key-reused")
    other = submit(ONE, "key-2")
    assert (other.status_code, other.json()["orders"][0]["outcome"]) == (200, "exists")
    clock.now += timedelta(hours=2)
    assert submit(ONE).json()["orders"][0]["outcome"] == "exists"
    assert placed(store) == ["po-1"]
    with store.read() as connection:
        row = connection.execute(sa.select(ORDERS.c.source, ORDERS.c.actor)).one()
        assert connection.execute(sa.select(sa.func.count()).select_from(OUTBOX)).scalar() == 1
        assert connection.execute(sa.select(API_TOKENS.c.acts).where(API_TOKENS.c.access == "operator")).scalar() == 3
    assert tuple(row) == ("api", "api:operator-token")
    texts = [(entry.who, entry.text) for entry in entries(store, AuditFilters()).entries]
    assert texts[0] == ("api:operator-token", "Submitted 1 order by API")


def test_orders_without_a_po_number_get_one_of_their_key(store: Database, submit: Submit) -> None:
    nameless = [{name: value for name, value in ONE.items() if name != "PONumber"}] * 2
    numbers = [[order["po_number"] for order in submit(nameless, key).json()["orders"]] for key in ("a", "b", "a")]
    assert numbers[0] == numbers[2] != numbers[1]
    assert len(placed(store)) == 4
    assert all(number.startswith("API-") for number in placed(store))


def test_a_viewer_acts_in_no_way(store: Database, history: History, submit: Submit, ask: Ask) -> None:
    history.place("po-7")
    before = placed(store)
    assert kind(submit(ONE, token="viewer")) == (403, "forbidden")
    assert kind(submit(ONE, token="viewer", query="?dry_run=true")) == (403, "forbidden")
    assert kind(ask("/api/v1/orders/po-7/check", "POST")) == (403, "forbidden")
    assert placed(store) == before


def test_what_is_wrong_is_named_and_not_stored(store: Database, submit: Submit, ask: Ask, history: History) -> None:
    wrong = [ONE, {"Type": "Links", "PONumber": "po-2", "LineItems": [{"ProductId": "CVS", "Value": -1}]}]
    answer = submit(wrong)
    assert kind(answer) == (422, "invalid")
    assert any(place["where"].startswith("order 2") for place in answer.json()["problems"])
    assert kind(submit(ONE, None)) == (422, "invalid")
    assert kind(submit([])) == (422, "invalid")
    assert kind(submit([dict(request(f"p-{number}").document) for number in range(51)])) == (413, "too-large")
    assert kind(submit(dict(request("p", *[line()] * 2001).document))) == (413, "too-large")
    operator: dict[str, Any] = {
        "token": "operator",
        "headers": {"Idempotency-Key": "k", "Content-Type": "application/json"},
    }
    assert kind(ask("/api/v1/orders", "POST", content="{", **operator)) == (422, "invalid")
    operator["headers"]["Content-Type"] = "text/plain"
    assert kind(ask("/api/v1/orders", "POST", content="{}", **operator)) == (415, "media-type")
    history.place("po-1", value=7000)
    conflict = submit([dict(request("po-3").document), ONE])
    assert kind(conflict) == (409, "conflict")
    assert conflict.json()["problems"][0]["where"] == "po-1"
    assert placed(store) == ["po-1"]
    with store.read() as connection:
        assert connection.execute(sa.select(API_REQUESTS)).all() == []


def test_a_dry_run_says_what_is_in_it_and_needs_no_key(store: Database, submit: Submit) -> None:
    answer = submit([ONE, dict(request("po-2", line(quantity=3)).document)], None, query="?dry_run=true")
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("orders", "units")} == {"orders": 2, "units": 4}
    assert placed(store) == []


@pytest.fixture
def operator(store: Database, tokens: dict[str, str], clock: Clock) -> Caller:
    return find_caller(store, tokens["operator"], clock())


def test_what_dies_before_the_answer_is_stored_leaves_nothing(
    api: Api, store: Database, operator: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = Submission(operator, "key", json.dumps(ONE).encode())
    keep = requests.answer

    def die(*_: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(requests, "answer", die)
    with pytest.raises(ConnectionError):
        Acts(api.service).submit(submission, clock())
    assert placed(store) == []
    monkeypatch.setattr(requests, "answer", keep)
    assert Acts(api.service).submit(submission, clock())[0] == 201
    assert placed(store) == ["po-1"]


def test_two_at_once_under_one_key_are_one_act(api: Api, store: Database, operator: Caller, clock: Clock) -> None:
    """On PostgreSQL from two processes, as far as the store knows."""
    other = Database(store.url) if store.dialect == "postgresql" else store
    sides = [api, Api(other, clock=clock, secrets=["x"])]
    submission = Submission(operator, "key", json.dumps([ONE, dict(request("po-2").document)]).encode())
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda side=side: answers.append(Acts(side.service).submit(submission, clock())))
        for side in sides * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if other is not store:
        other.close()
    assert len(answers) == 6
    assert [answer for answer in answers if answer != answers[0]] == [], answers[0]
    assert placed(store) == ["po-1", "po-2"]


def test_a_second_request_meanwhile_is_told_to_wait(api: Api, operator: Caller) -> None:
    busy, submission = Acts(api.service), Submission(operator, "key", b"{}")
    with busy.alone(submission), pytest.raises(Refusal) as refused, busy.alone(submission):
        pass
    assert (refused.value.kind, refused.value.headers) == ("in-progress", {"Retry-After": "1"})
    with busy.alone(submission):
        pass


def test_a_token_that_is_revoked_while_it_acts_does_not_act(
    api: Api, store: Database, operator: Caller, clock: Clock
) -> None:
    revoke_token(store, operator.name, by=ANN, now=clock())
    with pytest.raises(Refusal, match="revoked"):
        Acts(api.service).submit(Submission(operator, "key", json.dumps(ONE).encode()), clock())
    assert placed(store) == []


def test_an_order_above_the_limit_waits_for_a_person(store: Database, submit: Submit, ask: Ask, clock: Clock) -> None:
    approval_rule.enforce(store, ApprovalLimit.parse("5"), clock())
    submit(ONE)
    assert ask("/api/v1/orders/po-1").json()["approval"] == "waiting"


def test_an_order_is_polled_now(store: Database, history: History, ask: Ask, clock: Clock) -> None:
    history.place("po-1")
    history.accept("po-1")
    answer = ask("/api/v1/orders/po-1/check", "POST", token="operator")
    assert answer.status_code == 202
    assert answer.json() == {"po_number": "po-1", "state": "Pending", "next_look_at": clock().isoformat()}
    with store.read() as connection:
        event = connection.execute(sa.select(EVENTS).order_by(EVENTS.c.id.desc()).limit(1)).mappings().one()
    assert (event["witness"], event["detail"]["actor"]) == ("person", "api:operator-token")
    history.place("queued")
    assert kind(ask("/api/v1/orders/queued/check", "POST", token="operator")) == (409, "conflict")
    assert kind(ask("/api/v1/orders/nothing/check", "POST", token="operator")) == (404, "not-found")


def test_answers_are_forgotten_after_a_day(store: Database, submit: Submit, api: Api, clock: Clock) -> None:
    submit(ONE)
    api.service.use.flush(clock())
    clock.now += timedelta(hours=24)
    api.service.use.flush(clock())
    with store.read() as connection:
        assert connection.execute(sa.select(API_REQUESTS)).all() == []
