"""Who may ask: a token is kept as its hash, counts until it is revoked, and each of its reads is on record."""

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from api_client import ANN, Ask
from fakes import Clock, request
from typer.testing import CliRunner

from tracking import ingest
from tracking.access import Access, Person
from tracking.api.acts import Acts, Submission
from tracking.api.callers import use
from tracking.api.callers.tokens import (
    Standing,
    check_counts,
    find_caller,
    listed_tokens,
    make_token,
    revoke_token,
)
from tracking.api.edge import Api
from tracking.api.problems import Refusal
from tracking.app.cli.main import app
from tracking.errors import InvalidSubmission, NotAllowed, NotPermitted
from tracking.reports.team.audit import AuditFilters, entries
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.integration.tables import API_TOKENS, API_USE
from tracking.storage.tables import FACTS
from tracking.storage.team.audit_log import differences

ONE = b'{"Type": "Links", "PONumber": "po-1", "LineItems": [{"ProductId": "CVS", "Value": 25, "Quantity": 1}]}'


def audit(store: Database) -> list[tuple[str, str]]:
    return [(entry.who, entry.text) for entry in entries(store, AuditFilters()).entries]


def test_a_token_is_shown_once_and_stored_as_its_hash(store: Database, clock: Clock) -> None:
    token = make_token(store, "billing", Access.VIEWER, by=ANN, now=clock())
    assert re.fullmatch(r"trk_[\w-]{43}", token)
    with store.read() as connection:
        row = connection.execute(sa.select(API_TOKENS)).mappings().one()
        everything = str([dict(row), connection.execute(sa.select(FACTS)).all()])
    assert token not in everything
    assert (row["name"], row["access"], row["created_by"], row["revoked_at"]) == ("billing", "viewer", ANN.name, None)
    text = f"Made the API's token billing, viewer, expires {clock() + timedelta(days=90):%Y-%m-%d %H:%M:%S}"
    assert audit(store) == [(ANN.name, text)]


def test_only_operators_make_tokens_and_no_name_comes_twice(store: Database, clock: Clock) -> None:
    with pytest.raises(NotPermitted):
        make_token(store, "billing", Access.VIEWER, by=Person("vic", Access.VIEWER), now=clock())
    for name in ("", "Billing", "a b", "ann@example.com", "x" * 41):
        with pytest.raises(InvalidSubmission):
            make_token(store, name, Access.VIEWER, by=ANN, now=clock())
    make_token(store, "billing", Access.VIEWER, by=ANN, now=clock())
    assert revoke_token(store, "billing", by=ANN, now=clock())
    assert not revoke_token(store, "billing", by=ANN, now=clock())
    with pytest.raises(NotAllowed, match="give another name"):
        make_token(store, "billing", Access.VIEWER, by=ANN, now=clock())
    with pytest.raises(NotAllowed, match="no token has the name"):
        revoke_token(store, "nobody", by=ANN, now=clock())


def test_without_a_token_that_counts_there_is_no_answer(
    store: Database, clock: Clock, ask: Ask, tokens: dict[str, str]
) -> None:
    assert ask("/api/v1/me").json() == {
        "name": "viewer-token",
        "actor": "api:viewer-token",
        "role": "viewer",
        "created_at": clock().isoformat(),
        "expires_at": (clock() + timedelta(days=90)).isoformat(),
    }
    made_up = tokens["viewer"][:-1] + ("A" if tokens["viewer"][-1] != "A" else "B")
    for token in (None, "", "trk_", made_up, tokens["viewer"] + "x", "trk_%00"):
        refused = ask("/api/v1/me", token=token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith('Bearer realm="tracking"')
        assert refused.json()["type"] == "/api/v1/docs#unauthorized"
    for headers in ({"Authorization": f"Basic {tokens['viewer']}"}, {"Authorization": tokens["viewer"]}):
        assert ask("/api/v1/me", token=None, headers=headers).status_code == 401
    revoke_token(store, "viewer-token", by=ANN, now=clock())
    refused = ask("/api/v1/me")
    assert (refused.status_code, refused.json()["detail"]) == (
        401, f"This token was revoked on {clock().isoformat(timespec='seconds')}.",
    )  # fmt: skip
    assert ask("/api/v1/me", token="operator").status_code == 200


def test_a_token_expires_as_was_said_and_never_where_that_was_asked_for(
    store: Database, clock: Clock, api: Api, ask: Ask
) -> None:
    made = {
        name: make_token(store, name, Access.OPERATOR, by=ANN, now=clock(), days=days)
        for name, days in (("month", 30), ("ever", None))
    }
    for days in (0, 3651):
        with pytest.raises(InvalidSubmission, match="must be 1 to 3,650"):
            make_token(store, "other", Access.VIEWER, by=ANN, now=clock(), days=days)
    caller = find_caller(store, made["month"], clock())
    assert [(each.name, each.standing(clock()).value, each.ends(clock())) for each in listed_tokens(store)[:2]] == [
        ("ever", "active", "never expires"), ("month", "active", "expires in 30 days"),
    ]  # fmt: skip
    clock.pass_by(days=24)
    soon = listed_tokens(store)[1]
    assert (soon.standing(clock()), soon.ends(clock())) == (Standing.EXPIRES_SOON, "expires in 6 days")
    clock.pass_by(days=6)
    assert (soon.standing(clock()), soon.ends(clock())) == (Standing.EXPIRED, "expired 0 s ago")
    refused = ask("/api/v1/orders", token=made["month"])
    assert refused.status_code == 401
    at = clock().isoformat(timespec="seconds")
    assert refused.json()["detail"] == f"This token expired on {at}: make another one."
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    with pytest.raises(Refusal, match="was revoked, or has expired"):  # who waited meanwhile
        check_counts(store, caller, clock())
    with pytest.raises(Refusal, match="was revoked, or has expired") as acting:
        Acts(api.service).submit(Submission(caller, "key", ONE), clock())
    assert 'error="invalid_token"' in acting.value.headers["WWW-Authenticate"]
    assert ask("/api/v1/me", token=made["ever"]).json()["expires_at"] is None
    assert revoke_token(store, "month", by=ANN, now=clock())


def test_the_command_line_makes_lists_and_revokes_tokens(
    migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shutil.copy(migrated_file, tmp_path / "tracking.db")
    monkeypatch.setenv("TRACKING_DATABASE_URL", f"sqlite:///{file}")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["tokens", *arguments])
        assert result.exit_code == code, result.output
        return result.stdout

    token = run("add", "billing", "--role", "operator", "--days", "10").strip()
    assert re.fullmatch(r"trk_[\w-]{43}", token)
    assert json.loads(run("add", "reports", "--json", "--never-expires")) | {"token": ""} == {
        "name": "reports", "role": "viewer", "days": None, "token": "",
    }  # fmt: skip
    assert "billing expires in 9 days: make another one" in CliRunner().invoke(app, ["tokens", "list"]).stderr
    run("add", "billing", code=1)
    run("add", "other", "--role", "admin", code=2)
    run("revoke", "nobody", code=1)
    assert "is revoked" in run("revoke", "billing")
    assert json.loads(run("revoke", "billing", "--json")) == {"name": "billing", "revoked": False}
    listed = json.loads(run("list", "--json"))
    assert [(each["name"], each["role"], each["revoked_at"] is None) for each in listed] == [
        ("reports", "viewer", True),
        ("billing", "operator", False),
    ]
    assert [(each["state"], each["expires_at"] is None) for each in listed] == [("active", True), ("revoked", False)]
    assert token not in run("list") + run("list", "--json")
    database.connect(f"sqlite:///{file}").close()


def test_reads_are_counted_and_each_hour_is_an_entry_of_the_audit_log(
    store: Database, clock: Clock, api: Api, ask: Ask
) -> None:
    def job(connection: sa.Connection) -> None:
        for number in range(3):
            ingest.place(connection, request(f"po-{number}"), source="form", actor=None, now=clock())

    store.write(job)
    assert len(ask("/api/v1/orders").json()["orders"]) == 3
    with store.read() as connection:  # before the first answer was given, not when it is flushed
        assert connection.execute(sa.select(sa.func.sum(API_USE.c.times))).scalar() == 1 + 3
    ask("/api/v1/orders/po-0")
    ask("/api/v1/orders/po-0/lines")
    ask("/api/v1/me")
    api.service.use.flush(clock())
    with store.read() as connection:
        row = connection.execute(sa.select(API_TOKENS).where(API_TOKENS.c.name == "viewer-token")).mappings().one()
    assert (row["reads"], row["acts"], row["last_used_at"]) == (3, 0, clock())
    before = audit(store)
    clock.now += timedelta(hours=1)
    ask("/api/v1/counts")
    for _ in range(2):
        api.service.use.flush(clock())
    (entry,) = audit(store)[: -len(before)]
    hour = (clock() - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    text = f"Read 3 answers by the API in the hour from {hour:%Y-%m-%d %H:%M:%S}: 1 line, 4 orders"
    assert entry == ("api:viewer-token", text)
    with store.read() as connection:
        assert list(differences(connection)) == []


def test_a_search_is_on_record_as_one_of_the_pages_is(
    store: Database, api: Api, ask: Ask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("/api/v1/orders?q=somebody@example.com")
    ask("/api/v1/orders?q=somebody@example.com")
    (who, text), *_ = audit(store)
    assert who == "api:viewer-token"
    assert "somebody" not in text
    assert text.startswith("Searched, 0 hits: hash:")
    assert len(audit(store)) == 3
    monkeypatch.setattr(use, "SEARCHES_AN_HOUR", 3)
    for number in range(5):
        ask(f"/api/v1/orders?q=some-{number}")
    assert len(audit(store)) == 4
    api.service.use.flush(clock())
    with store.read() as connection:
        searches = sa.select(sa.func.sum(API_USE.c.times)).where(API_USE.c.what == "search")
        assert connection.execute(searches).scalar() == 7
