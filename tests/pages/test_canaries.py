"""A faulty day with recognizable secrets: none of them turns up in a log, a page, a file, a figure or an error."""

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from canaries import CLAIMS, PEOPLE, PHONE, Canaries, Gossip, request
from desk import Desk
from log_setup import restored_log
from plans import REASONS_OF_A_DAY, REASONS_OF_PAGES, Recorded, recorded, unbounded, without
from sqlalchemy import select
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner
from virtual import VirtualLoop, run

from tracking.access import Access, Person
from tracking.api.callers import tokens
from tracking.api.mcp.tools import TOOLS, use_tool
from tracking.app import drafts
from tracking.app.cli.main import app as command_line
from tracking.delivery.signing import new_secret
from tracking.reports.exports.writing import EXPORTS
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.storage.tables import CLAIMS as CLAIM_ROWS
from tracking.storage.tables import EVENTS, EXCHANGES, ORDERS, OUTBOX
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions.erasure import erase
from tracking.submissions.files import CheckedFile
from tracking.submissions.requests import read_request
from tracking.submissions.submit import place_group
from tracking.team import disclosures, jobs
from tracking.team.imports import placing
from tracking.team.imports.handing_in import hand_in
from tracking.team.jobs import Job
from tracking.team.plans import Act, Parameters
from tracking.webhooks.addresses import make_token

Visit = Callable[..., AppTest]
ORDERS_PLACED = 20
SHOWN = ("C-00000", "C-00002", "C-00005", "C-00007", "C-00013")


class Heard(logging.Handler):
    """All that any logger says, with the tracebacks of what went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.args!r}")


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def record() -> Iterator[Recorded]:
    """The statements of all that happens: loops, receiver, pages, commands and an erasure."""
    with recorded() as record:
        yield record


@pytest.fixture
def secrets(canaries: Canaries, tmp_path: Path) -> dict[str, str]:
    made = {
        name: f"{canaries.new(name.rpartition('_')[2])}-long-enough" for name in ("api_access_token", "webhook_secret")
    }
    canaries.saw("key", canaries.key)
    made |= {"alerts": f"json://127.0.0.1:9/{canaries.new('service')}", "console_url": "http://127.0.0.1:9"}
    signing = new_secret().text
    canaries.saw("signing", signing, signing.removeprefix("whsec_"))
    hooks = tmp_path / "hooks.toml"
    url = f"https://127.0.0.1:9/{canaries.new('path')}?key={canaries.new('path')}"
    hooks.write_text(f'[[hooks]]\nname = "crm"\nurl = "{url}"\nsecret = "{signing}"\n')
    made |= {"hooks": str(hooks), "hooks_allow": "127.0.0.1"}
    return made | {"api_email": f"{canaries.new('account')}@example.com", "claims_key": canaries.key}


@pytest.fixture
def heard(canaries: Canaries) -> Iterator[Heard]:
    """Every logger there is, at its most talkative; engines look at their level when they are made."""
    handler, root = Heard(), logging.getLogger()
    loggers = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, each.level, each.propagate, each.disabled) for each in (root, *loggers)]
    for each in loggers:
        each.setLevel(logging.NOTSET)
        each.propagate, each.disabled = True, False
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for each, level, propagate, disabled in before:
        each.setLevel(level)
        each.propagate, each.disabled = propagate, disabled


async def _strangers(desk: Desk, canaries: Canaries) -> None:
    """Calls of the webhook that prove nothing, with all sorts of secrets in them."""
    right = make_token("C-00001", desk.backend.settings.webhook_secrets()[0])
    canaries.saw("address", right)
    said = {"Action": "FulfillmentComplete", "PONumber": "C-00002", "Email": f"{canaries.new('email')}@example.com"}
    claimed = said | {"PONumber": "C-00001", "ClaimLink": canaries.new("claim")}
    named = claimed | {"PONumber": f"{canaries.new('email')}@example.com", "OrderId": PHONE.format(7)}
    proven = claimed | {"Action": f"sent to {canaries.new('email')}@example.com", "Timestamp": canaries.new("claim")}
    others = ((canaries.new("address"), claimed), ("x" * len(right), named), (right, proven))
    for address, document in ((right, said), (right[:-1] + "_", claimed), *others):
        path = f"http://console.internal/webhooks/fulfillment/{address}"
        for method, body in (("POST", json.dumps(document)), ("GET", ""), ("POST", canaries.new("claim"))):
            await desk.hooks.request(method, path, params={"key": canaries.new("address")}, content=body)


async def _asked_by_others(desk: Desk, canaries: Canaries) -> str:
    """What other systems and their assistants are told of the orders, with an operator's token."""
    token = tokens.make_token(desk.backend.database, "canary", Access.OPERATOR, by=Person("Ann"), now=datetime.now(UTC))
    canaries.saw("api token", token)
    order = (f"/orders/{name}{part}" for name in SHOWN for part in ("", "/lines", "/events"))
    paths = [
        f"/api/v1{path}" for path in (*order, "/orders?limit=500", "/events?limit=500", "/counts", "/health", "/me")
    ]
    transport, now = httpx.ASGITransport(desk.backend.asgi(lifespan=False)), datetime.now(UTC)
    caller = tokens.find_caller(desk.backend.database, token, now)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://console.internal", headers=headers) as client:
        answers = [await client.get(path) for path in paths]
        answers += [await client.post("/api/v1/orders", json={"PONumber": canaries.new("claim")})]
    assert {answer.status_code for answer in answers} == {200, 422}
    asked: list[tuple[str, dict[str, str]]] = [("explain_order", {"order": name}) for name in SHOWN]
    asked += [(name, {}) for name in ("find_orders", "orders_needing_a_person", "counts")]
    service = desk.backend.api.service
    told = [use_tool(service, caller, TOOLS[name], given, now)[0] for name, given in asked]
    return "".join(answer.text for answer in answers[:-1]) + json.dumps(told)


async def _figures(desk: Desk) -> str:
    """What /healthz and /metrics say."""
    transport = httpx.ASGITransport(desk.backend.asgi(lifespan=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://console.internal") as client:
        return "".join([(await client.get(path)).text for path in ("/healthz", "/metrics")])


def _day(folder: Path, url: str, canaries: Canaries, secrets: dict[str, str]) -> str:
    """The real backend against a provider that fails in every way; returns what the figures said."""

    async def main(loop: VirtualLoop) -> str:
        desk = Desk(folder, "mixed-faults", loop, url=url, secrets=secrets, tick=2.0)
        assert desk.backend.transport is not None
        desk.backend.transport = Gossip(desk.backend.transport, canaries)
        async with desk.open():
            await desk.submit([request(canaries, number) for number in range(ORDERS_PLACED)])
            await _strangers(desk, canaries)
            await asyncio.sleep(timedelta(minutes=5).total_seconds())
            told = await _asked_by_others(desk, canaries)
            return told + await _figures(desk) + repr((desk.backend.settings, desk.backend))

    return run(main)


def _commands(folder: Path, canaries: Canaries) -> Iterator[tuple[str, str]]:
    """What each command says, and what is in the files it writes."""
    each = [[word, name] for name in SHOWN for word in ("order", "why")]
    calls = [["orders"], ["events"], ["audit"], ["handover"], ["contract"], *each, ["verify"], ["replan"]]
    for call in [*calls, *([*call, "--json"] for call in calls)]:
        with restored_log():
            result = CliRunner().invoke(command_line, ["--verbose", *call])
        said = "".join(traceback.format_exception(result.exception)) if result.exception else ""
        # So short a day may have too little history to be replayed, which is an answer too.
        assert result.exit_code in ({0, 1} if call[0] == "replan" else {0}), said
        yield " ".join(call), result.output + said
    for name in SHOWN:
        for more in ([], ["--masked"]):
            file = folder / "evidence.zip"
            result = CliRunner().invoke(command_line, ["evidence", name, "-o", str(file), "--replace", *more])
            assert result.exit_code == 0, result.output
            proof = CliRunner().invoke(command_line, ["verify-evidence", str(file)])
            assert proof.exit_code == 0, proof.output
            # Recipients in full are what the other one is for.
            content = file.read_text("latin-1")
            assert more or not (people := canaries.leaks(content, but=PEOPLE)), people
            yield f"evidence {name} {more}", result.output + proof.output + (content if more else "")
    outcome = folder / "outcome.csv"
    for more in ([], ["1"], ["1", "--json"], ["1", "--export", str(outcome)]):
        result = CliRunner().invoke(command_line, ["imports", *more])
        assert result.exit_code == 0, result.output
        yield f"imports {more}", result.output + (outcome.read_text() if outcome.exists() else "")
    for form in ("csv", "jsonl", "parquet"):
        for what in EXPORTS:
            file = folder / f"all.{form}"
            result = CliRunner().invoke(command_line, ["export", str(file), "--what", what, "--json"])
            assert result.exit_code == 0, result.output
            content = pd.read_parquet(file).to_csv() if form == "parquet" else file.read_text()
            yield f"export {what} {form}", result.output + content


def _text(app: AppTest) -> str:
    """All that was sent to the browser, tables and charts included."""
    assert not app.exception
    return "\n".join(str(getattr(node, "proto", "")) for node in app._tree) + f"{app.session_state!r}{app.query_params}"


def _pages(visit: Visit, canaries: Canaries) -> Iterator[tuple[str, str]]:
    pages = ("overview", "orders", "new_order", "logs", "insights", "imports", "audit", "handover", "alerts")
    for page in (*pages, "hooks", "tokens"):
        yield page, _text(visit(page))
    contract = _text(visit("logs", what="contract", endpoint="POST /v1/Orders", only="undocumented"))
    assert "{word}" in contract, "what the provider repeated of an order was met"
    yield "contract", contract
    shown = _text(visit("imports", **{"import": "1"}))
    assert "C-01008" in shown
    yield "import 1", shown
    moment = datetime.now(UTC).isoformat()
    yield "order as of a moment", _text(visit("order", order=SHOWN[0], as_of=moment))
    for name in SHOWN:
        app = visit("order", order=name)
        for part in ("summary", "events", "raw", "calls", "lines"):
            app.session_state["claims"] = app.session_state["why"] = True
            app.query_params["show"] = part
            app.run()
            yield f"order {name} {part}", _text(app)
            if calls := [each for each in app.selectbox if each.key == "exchange"]:
                for number in range(1, min(4, len(calls[0].options))):
                    yield f"order {name} call {number}", _text(app.selectbox(key="exchange").set_value(number).run())
        if [each for each in app.button if each.key == "reveal"]:
            app.text_input(key="actor_name").set_value("Ann").run()
            revealed = app.button(key="reveal").click().run()
            assert canaries.leaks("".join(str(code.value) for code in revealed.code)) & CLAIMS
            yield f"timeline {name} afterwards", _text(app.run())


def _raw(url: str) -> str:
    file = Path(url.removeprefix("sqlite:///"))
    return "".join(path.read_bytes().decode("latin-1") for path in file.parent.glob(f"{file.name}*"))


def _passed_through(database: Database, canaries: Canaries) -> str:
    """The canaries did fly: every kind was on the way, every kind of fault was met."""
    with database.read() as connection:
        requests = "".join(json.dumps(each) for each in connection.execute(select(OUTBOX.c.request)).scalars())
        states = set(connection.execute(select(ORDERS.c.state)).scalars())
        kinds = set(connection.execute(select(EVENTS.c.kind)).scalars())
        met = set(connection.execute(select(EXCHANGES.c.status)).scalars())
        kept = len(connection.execute(select(CLAIM_ROWS.c.sealed)).all())
    assert canaries.leaks(requests) == PEOPLE
    assert {"bearer", "address", "key", *CLAIMS} <= {kind for kind, seen in canaries.seen.items() if seen}
    assert {"Completed", "Refused"} <= states
    assert {"found", "refused", "claims changed", "outcome unknown"} <= kinds
    assert {200, 201, 400, 401, 422, 429, 503, 504} <= met
    assert kept > ORDERS_PLACED // 4
    return requests


def test_no_secret_turns_up_where_it_could_be_seen(  # noqa: PLR0917 - what the whole console takes
    visit: Visit,
    database: Database,
    canaries: Canaries,
    secrets: dict[str, str],
    heard: Heard,
    record: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "http://sandbox.internal")
    for name, secret in secrets.items():
        monkeypatch.setenv(f"TRACKING_{name.upper()}", secret)
    places = {"figures and reprs": _day(tmp_path, database.url, canaries, secrets)}
    assert '"failing":{"json":' in places["figures and reprs"], "no alert reached anybody"
    _passed_through(database, canaries)
    address = {"Email": f"{canaries.new('email')}@example.com", "Sms": canaries.new("phone")}
    draft = {"po_number": "C-draft", "lines": [{"ProductId": "CVS", "DigitalDeliveryAddress": address}], "fields": {}}
    assert drafts.save_draft(database, "somebody", draft, datetime.now(UTC))
    _import_some(database, canaries)
    places |= dict(_pages(visit, canaries))
    places |= dict(_commands(tmp_path, canaries))
    places |= dict(zip(("stdout", "stderr"), capfd.readouterr(), strict=True))
    places["calls"] = _calls(database)
    places["audit log"] = _audit_log(database, canaries)
    assert "revealed" in places["events"]
    leaks = {place: found for place, text in places.items() if (found := canaries.leaks(text))}
    spoken = "\n".join(heard.lines)
    loud = {line[:200] for line in heard.lines if canaries.leaks(line)} if canaries.leaks(spoken) else set()
    assert {"httpx", "sqlalchemy.engine.Engine", "tracking.provider.http"} <= {line.split()[0] for line in heard.lines}
    stored = canaries.leaks(_raw(database.url), but=PEOPLE)
    assert (leaks, loud, stored) == ({}, set(), set())
    # As this drives all that there is, it is also where the plans of all statements are looked at.
    unanswered = without(unbounded(record, database), REASONS_OF_PAGES | REASONS_OF_A_DAY)
    assert not unanswered, "\n".join(unanswered)


def _import_some(database: Database, canaries: Canaries) -> None:
    """A file of which an order is placed, one is rejected, and the others wait."""
    requests = [request(canaries, number) for number in range(1001, 1009)]
    file = CheckedFile(tuple(requests), (), len(requests), "digest", "wave.csv")
    now = datetime.now(UTC)
    job = hand_in(database, file, source="csv", by=Person("Ann"), now=now).job_id
    other = read_request(dict(requests[0].document) | {"LineItems": [*requests[0].document["LineItems"]] * 2})
    by_form: Any = {"source": "form", "actor": "Ann", "now": now, "catalog": None}
    database.write(partial(place_group, group=[other], **by_form))
    one = Job(job, Act.IMPORT, {"batch_id": 1, "source": "csv"}, "Ann")
    assert database.write(lambda connection: placing.step(connection, one, now, 2, 0)).skipped == {"rejected": 1}


def _calls(database: Database) -> str:
    with database.read() as connection:
        rows = connection.execute(select(EXCHANGES)).mappings().all()
    return json.dumps([dict(row) for row in rows], default=str)


def _audit_log(database: Database, canaries: Canaries) -> str:
    """The whole audit log, after somebody searched for a recipient, exported what it found, and erased somebody."""
    typed, ann, now = f"{canaries.new('email')}@example.com", Person("Ann"), datetime.now(UTC)
    about: dict[str, Any] = {"by": ann, "now": now, "secret": "any secret of this length"}
    disclosures.record_search(database, typed, 0, **about)
    disclosures.record_export(database, "orders", filters=Filters(text=typed, product=typed, po_prefix=typed), **about)
    chosen = Filters(not_states=(typed,), not_sources=(typed,), not_types=(typed,))
    jobs.start(database, chosen, Act.SNOOZE, Parameters(reason=typed), key="k", **about)
    erase(database, PHONE.format(1), by=ann, now=now)
    with database.read() as connection:
        rows = connection.execute(select(AUDIT_LOG)).mappings().all()
    assert {"revealed", "exported", "searched", "job started", "erased"} <= {row["kind"] for row in rows}
    return json.dumps([dict(row) for row in rows], default=str)


def test_what_leaks_is_found(canaries: Canaries, heard: Heard, capfd: pytest.CaptureFixture[str]) -> None:
    email, phone = f"{canaries.new('email')}@example.com", "+15550100001"
    canaries.saw("bearer", "eyJ-a-token")
    logging.getLogger("anybody").debug("sent to %s", email)
    try:
        int(canaries.new("claim"))
    except ValueError:
        logging.getLogger("anybody").exception("stumbled")
    print(phone, file=sys.stderr)  # noqa: T201 - the leak that is to be found
    said = [line for line in heard.lines if line.startswith("anybody")]
    assert [canaries.leaks(line) for line in said] == [{"email"}, {"claim"}]
    assert canaries.leaks(capfd.readouterr().err) == {"phone"}
    assert canaries.leaks("Bearer eyJ-a-token") == {"bearer"}
    assert canaries.leaks("k***@example.com +1***01 k***") == set()
