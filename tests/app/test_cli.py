import asyncio
import codecs
import csv
import getpass
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from histories import History
from typer.testing import CliRunner, Result

from tracking import ingest
from tracking.app import folders
from tracking.app.cli import context, output
from tracking.app.cli.main import app
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.model import Line, Snapshot, Witness
from tracking.orders.observations import Answered, Attempted, Observation
from tracking.provider.http.recording import ApiCall
from tracking.provider.http.sightings import Sightings
from tracking.reports.order_list import conditions, search
from tracking.reports.order_list.filters import Filters
from tracking.sandbox.catalog import CARRIERS, PRODUCTS, SHIPPING_METHODS
from tracking.sandbox.scenarios import SCENARIOS
from tracking.storage import engines, facts
from tracking.storage.database import Database, connect
from tracking.storage.maintenance import restore_mark
from tracking.storage.migrations import HEAD
from tracking.storage.sqlite import driver
from tracking.storage.sqlite.journal import keeps_wal
from tracking.storage.tables import COUNTERS, EVENTS, ORDERS
from tracking.storage.team import sightings
from tracking.storage.team.tables import AUDIT_LOG
from tracking.team.job_runner import JobRunner

HEADER = "PONumber,Type,ProductId,Value,Quantity,ExternalId\n"
COMMANDS = (
    "worker", "submit", "order", "orders", "replan", "events", "export", "seed", "verify", "erase", "backup",
    "restored", "migrate", "sandbox", "bulk", "jobs", "evidence", "verify-evidence", "contract", "imports",
)  # fmt: skip
OFFERED = {"shipping_methods": SHIPPING_METHODS, "carriers": CARRIERS}
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the command line is called: a folder of its own with an empty store, no settings but the defaults."""
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_DATABASE_URL", f"sqlite:///{tmp_path}/data/tracking.db")
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(migrated_file, tmp_path / "data" / "tracking.db")
    yield tmp_path
    connect(f"sqlite:///{tmp_path}/data/tracking.db").close()


@pytest.fixture
def database(folder: Path) -> Database:
    return connect(f"sqlite:///{folder}/data/tracking.db")


@pytest.fixture
def run(folder: Path) -> Run:
    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


def answer(result: Result, code: int = 0) -> Any:
    """The JSON on stdout, and nothing else there."""
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def wave(folder: Path, rows: str = "a,Links,CVS,10,1,x\nb,Links,CVS,25,2,y\n", name: str = "wave.csv") -> Path:
    file = folder / name
    file.write_text(HEADER + rows)
    return file


def finish(database: Database, state: str = "Completed") -> None:
    database.write(lambda connection: connection.execute(sa.update(ORDERS).values(state=state)))


# Calls


def test_every_command_explains_itself(run: Run) -> None:
    overview = run("--help")
    for command in COMMANDS:
        assert command in overview.stdout
        assert run(command, "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("order",),
        ("orders", "--older-than", "soon"),
        ("orders", "--older-than", "999999999d"),
        ("orders", "--limit", "0"),
        ("events", "--since", "yesterday"),
        ("export", "orders.xlsx"),
        ("submit", "missing.csv"),
        ("submit", "missing.csv", "--wait", "nan"),
        ("bulk", "poll"),
        ("bulk", "import", "--all"),
        ("bulk", "assign", "--all"),
        ("bulk", "snooze", "--all", "--until", "soon"),
        ("jobs", "--stop"),
        ("jobs", "1", "--stop", "--resume"),
        ("sandbox", "--speed", "inf"),
        ("sandbox", "--traffic", "inf"),
        ("replan", "--rate", "nan"),
        ("seed",),
        ("seed", "--orders", "none"),
        ("sandbox", "--scenario", "nonsense"),
        ("worker", "--port", "66000"),
        ("replan", "--policy", "guess"),
        ("replan", "--policy", "doubling", "--price", "3"),
        ("replan", "--rate", "0"),
        ("replan", "--floor", "60", "--ceiling", "5"),
        ("replan", "--since", "2999-01-01"),
    ],
)
def test_a_bad_call_exits_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_the_version_names_sqlite_and_its_driver_and_opens_no_store(run: Run, folder: Path) -> None:
    (folder / "data" / "tracking.db").unlink()
    first, second = run("--version").stdout.splitlines()
    assert first == f"fulfillment-tracking {metadata.version('fulfillment-tracking')}"
    brought = f"pysqlite3 {metadata.version('pysqlite3')}" if driver.NAME == "pysqlite3" else "Python's own"
    kept = "write-ahead log (WAL)" if keeps_wal() else "rollback journal (DELETE)"
    assert second == f"SQLite {driver.dbapi.sqlite_version} ({brought}), {kept}"
    assert list((folder / "data").iterdir()) == []


def test_settings_that_cannot_be_used_are_told_all_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_POLL_FLOOR", "never")
    monkeypatch.setenv("TRACKING_ROLES", "cook")
    result = run("orders", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "TRACKING_POLL_FLOOR" in result.stderr
    assert "TRACKING_ROLES: does not know cook" in result.stderr


def test_a_store_that_is_none_is_told_without_a_traceback(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "notes.txt").write_text("no database, but long enough to be taken for a page of one" * 100)
    monkeypatch.setenv("TRACKING_DATABASE_URL", f"sqlite:///{folder}/notes.txt")
    for command in ("orders", "migrate", "verify"):
        result = run(command)
        assert result.exit_code == 1
        assert "not a SQLite database" in result.stderr


# Submitting


def test_submit_queues_and_says_that_nobody_sends(run: Run, folder: Path) -> None:
    result = run("submit", wave(folder), "--json")
    receipts = answer(result)
    assert [(each["po_number"], each["outcome"], each["state"]) for each in receipts] == [
        ("a", "queued", "Queued"),
        ("b", "queued", "Queued"),
    ]
    assert "queued; no sender is running: start" in result.stderr


def test_a_large_file_is_summed_up_with_what_needs_somebody_first(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_APPROVAL_ABOVE", "15")
    monkeypatch.setenv("TRACKING_OPERATORS", "ann@example.com")
    rows = "".join(f"W-{number},Links,CVS,{20 if number == 29 else 10},1,x\n" for number in range(30))
    lines = run("submit", wave(folder, rows)).stdout.splitlines()
    assert lines[1].startswith("W-29 ")
    assert lines[-2].startswith("and 10 more orders; all of them: --json")
    assert lines[-1] == "import 1: 30 orders, 30 queued to be sent"
    assert len(lines) == 23
    again = run("submit", wave(folder, rows)).stdout.splitlines()[-1]
    assert re.fullmatch(r"import 1, there since 2\S+ \S+ UTC: 30 orders, 30 there already", again)
    assert len(answer(run("submit", wave(folder, rows), "--json"))) == 30


def test_imports_are_listed_shown_and_taken_along(run: Run, folder: Path) -> None:
    run("submit", wave(folder))
    assert "wave.csv" in run("imports").stdout
    [line] = answer(run("imports", "--json"))
    assert (line["id"], line["state"], line["orders"], line["placed"]) == (1, "placed", 2, 2)
    lines = run("imports", "1").stdout.splitlines()
    assert [lines[1], *lines[2:4]] == ["Orders created, job 1", "order created: 2", "2 Queued"]
    assert "2 of them queued here, not sent yet; to stop the job does not take them back" in lines
    shown = answer(run("imports", "1", "--json"))
    assert (shown["outcomes"], shown["states"], shown["undecided"]) == ({"queued": 2}, {"Queued": 2}, 0)
    file = folder / "outcome.csv"
    assert answer(run("imports", "1", "--export", file, "--json")) == {"file": str(file), "rows": 2}
    assert file.read_bytes().startswith(b"\xef\xbb\xbfrow,po_number,")
    for export in (("imports", "1", "--export", file), ("jobs", 1, "--export", file), ("export", file)):
        assert f"{file} was there already and is replaced" in run(*export).stderr, export
    assert len(answer(run("orders", "--import", "1", "--json"))) == 2
    assert answer(run("orders", "--import", "2", "--json")) == []
    assert answer(run("orders", "--text", "nobody@", "--json")) == []
    assert "Fewer than 3 characters" in run("orders", "--text", "x", "--json").stderr
    assert "there is no import 9" in run("imports", "9").stderr
    assert run("imports", "--export", file).exit_code == run("imports", "--discard").exit_code == 2
    assert "none of its orders waits" in run("imports", "1", "--discard").stderr


def test_submit_is_silent_about_a_sender_that_beats(run: Run, folder: Path, database: Database) -> None:
    now = datetime.now(UTC)
    database.write(lambda connection: facts.set_fact(connection, "beat:sender", {"role": "sender"}, now))
    assert "no sender" not in run("submit", wave(folder)).stderr
    old = now - timedelta(seconds=16)
    database.write(lambda connection: facts.set_fact(connection, "beat:sender", {"role": "sender"}, old))
    assert "no sender" in run("submit", wave(folder)).stderr


def test_an_order_above_the_limit_waits_and_the_command_line_says_so(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_APPROVAL_ABOVE", "15")
    monkeypatch.setenv("TRACKING_OPERATORS", "ann@example.com")
    waits = "waits for a second operator's approval"
    lines = run("submit", wave(folder)).stdout.splitlines()
    assert [line.split()[0] for line in lines if waits in line] == ["b"]
    assert [each["po_number"] for each in answer(run("orders", "--view", "approval", "--json"))] == ["b"]
    assert answer(run("order", "b", "--json"))["approval"] == "waiting"
    assert "for a second operator's approval: above the limit of 15.00." in run("order", "b").stdout


def test_submit_records_who_did_it(run: Run, folder: Path, database: Database) -> None:
    run("submit", wave(folder, "a,Links,CVS,10,1,x\n"))
    run("submit", wave(folder, "b,Links,CVS,10,1,x\n"), "--actor", "night shift")
    with database.read() as connection:
        actors = list(connection.execute(sa.select(ORDERS.c.actor).order_by(ORDERS.c.id)).scalars())
    assert actors[0].startswith("cli:")
    assert actors[1] == "night shift"


def test_an_account_without_a_name_is_told_by_its_number(
    run: Run, folder: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    run("submit", wave(folder, "a,Links,CVS,10,1,x\n"))
    with database.read() as connection:
        assert connection.execute(sa.select(ORDERS.c.actor)).scalar_one() == f"cli:uid {os.getuid()}"
    monkeypatch.delattr(os, "getuid")
    refused = run("submit", wave(folder, "b,Links,CVS,10,1,x\n"))
    assert refused.exit_code == 1
    assert "give a name with --actor" in refused.stderr
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ORDERS)).scalar_one() == 1


def test_the_same_file_again_orders_nothing_and_is_no_error(run: Run, folder: Path) -> None:
    file = wave(folder)
    run("submit", file)
    assert "was uploaded before" in run("submit", file, "--dry-run").stdout
    assert [each["outcome"] for each in answer(run("submit", file, "--json"))] == ["exists", "exists"]


def test_a_file_that_came_before_but_for_a_row_is_sent_only_when_told_so(run: Run, folder: Path) -> None:
    run("submit", wave(folder, ",Links,CVS,10,1,x\n,Links,CVS,25,1,y\n"))
    changed = wave(folder, ",Links,CVS,10,1,x\n,Links,CVS,50,1,y\n")
    result = run("submit", changed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 row without a PO number also in" in result.stderr
    assert "use --again" in result.stderr
    assert len(answer(run("orders", "--json"))) == 1
    assert "also in wave.csv" in run("submit", changed, "--dry-run").stderr
    assert [each["outcome"] for each in answer(run("submit", changed, "--again", "--json"))] == ["queued"]


def test_a_state_nobody_knows_lists_nothing_and_says_so(run: Run) -> None:
    result = run("orders", "--state", "complted")
    assert result.exit_code == 0
    assert "'complted' is not a known state; did you mean Completed? Known states: Queued, " in result.stderr
    assert "Unconfirmed" in result.stderr
    for known in ("completed", "outcome unknown", "unconfirmed"):
        assert "Known states" not in run("orders", "--state", known).stderr


def test_a_dry_run_checks_and_writes_nothing(run: Run, folder: Path) -> None:
    result = run("submit", wave(folder), "--dry-run")
    assert result.exit_code == 0
    assert "2 orders, 3 cards, 60.00 (currency unknown) in all" in result.stdout
    (folder / "one.csv").write_text("Type,ProductId,Value,Quantity\nLinks,CVS,10,1\n", "utf-8")
    assert "1 order, 1 card, 10.00" in run("submit", folder / "one.csv", "--dry-run").stdout
    checked = answer(run("submit", wave(folder), "--dry-run", "--json"))
    assert (checked["orders"], checked["units"], checked["value"], checked["problems"]) == (2, 3, "60.00", [])
    assert answer(run("orders", "--json")) == []


def test_a_file_that_nothing_could_be_held_against_says_so(run: Run, folder: Path, database: Database) -> None:
    file, words = wave(folder), "catalogue has not been read yet"
    assert words in run("submit", file, "--dry-run").stderr
    assert answer(run("submit", file, "--dry-run", "--json"))["not_checked"]
    assert words in run("submit", file).stderr
    catalogue = {"products": [{"id": "CVS", "denominations": [1000, 2500], "delivery_types": ["Links"]}]}
    database.write(lambda connection: facts.set_fact(connection, "catalogue", catalogue, datetime.now(UTC)))
    file = wave(folder, "c,Links,CVS,10,1,x\n", "other.csv")
    assert words not in run("submit", file, "--dry-run").stderr
    assert answer(run("submit", file, "--dry-run", "--json"))["not_checked"] == []


def test_a_file_with_problems_is_not_sent_at_all(run: Run, folder: Path) -> None:
    file = wave(folder, "a,Links,CVS,10,1,x\nb,Link,CVS,ten,1,y\n")
    result = run("submit", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Fix these before sending." in result.stderr
    assert "row 3, Type: must be one of" in result.stderr
    assert "row 3, Value: must be an amount" in result.stderr
    problems = answer(run("submit", file, "--json"), code=1)["problems"]
    assert [problem["where"] for problem in problems] == ["row 3, Type", "row 3, Value"]
    assert answer(run("orders", "--json")) == []


def test_json_files_hold_requests_in_the_providers_shape(run: Run, folder: Path) -> None:
    file = folder / "orders.json"
    file.write_text(
        json.dumps({"ponumber": "j", "type": "links", "lineItems": [{"productId": "CVS", "value": 10, "quantity": 1}]})
    )
    assert [each["outcome"] for each in answer(run("submit", file, "--json"))] == ["queued"]
    assert answer(run("order", "j", "--json"))["source"] == "json"


def test_waiting_ends_with_1_while_an_order_is_open(run: Run, folder: Path) -> None:
    assert [each["state"] for each in answer(run("submit", wave(folder), "--wait", "0.1", "--json"), code=1)] == [
        "Queued",
        "Queued",
    ]


@pytest.mark.parametrize("state", ["Completed", "Cancelled", "Refused"])
def test_waiting_ends_with_0_once_all_are_done(run: Run, folder: Path, database: Database, state: str) -> None:
    file = wave(folder)
    run("submit", file)
    finish(database, state)
    assert {each["state"] for each in answer(run("submit", file, "--wait", "60", "--json"))} == {state}


@pytest.mark.parametrize(
    "sample", sorted((Path(__file__).parents[2] / "data").glob("sample-*.csv")), ids=lambda p: p.name
)
def test_the_samples_fit_the_sandboxs_catalogue(run: Run, database: Database, sample: Path) -> None:
    products = [
        {
            "id": product.id,
            "denominations": [int(amount * 100) for amount in product.amounts],
            "denomination_type": product.rule,
            "delivery_types": list(product.deliveries),
            "has_required_carriers": product.needs_carrier,
        }
        for product in PRODUCTS.values()
    ]
    offered = {name: [{"id": each["Id"]} for each in known] for name, known in OFFERED.items()}
    catalogue = {"products": products, **offered}
    database.write(lambda connection: facts.set_fact(connection, "catalogue", catalogue, datetime.now(UTC)))
    assert answer(run("submit", sample, "--dry-run", "--json"))["problems"] == []


# Reading


def test_the_contract_lists_what_was_seen_and_what_is_new(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "LEARNING_ANSWERS", 1)
    gathered, now = Sightings(), datetime.now(UTC)
    for days, document in ((2, {"Id": "B-1"}), (1, {"Id": "B-1"}), (0, {"Id": "B-1", "Total": 9.5})):
        at = now - timedelta(days=days)
        gathered.note_answer(ApiCall("GET", "/v1/Orders/B-1", status=200, raw=document), None, at, str)
        asyncio.run(gathered.flush(database, at))
    listed = run("contract", "--json")
    assert listed.exit_code == 0
    found = json.loads(listed.stdout)
    assert [each["text"] for each in found["unread"]] == ["1 new field in GET /v1/Orders/{id}: Total (like 9.9)"]
    assert len(found["sightings"]) == 7
    table = run("contract", "--new").stdout.splitlines()
    assert len(table) == 4, table
    assert "Total" in table[2]
    assert "undocumented" in table[2]


def test_an_order_is_found_by_its_po_number_and_told_as_promised(run: Run, folder: Path) -> None:
    run("submit", wave(folder))
    told = answer(run("order", "b", "--json"))
    promised = {
        *("po_number", "provider_id", "state", "type", "units", "value", "source", "claimed", "created_at"),
        *("accepted_at", "completed_after", "completed_by", "next_look_at", "lines", "timeline"),
    }
    assert promised <= told.keys()
    assert (told["po_number"], told["state"], told["units"], told["source"]) == ("b", "Queued", 2, "csv")
    assert {"at", "learned_at", "witness", "kind", "text"} <= told["timeline"][0].keys()
    assert datetime.fromisoformat(told["created_at"]).utcoffset() == timedelta(0)
    shown = run("order", "b").stdout
    assert "Queued" in shown
    assert "CVS" in shown


def test_an_order_is_placed_anew_only_where_its_po_number_is_anothers_and_both_are_wanted(
    run: Run, folder: Path, database: Database
) -> None:
    run("submit", wave(folder))
    result = run("place-anew", "a", "a-2", "--both-wanted")
    assert (result.exit_code, "belongs to another order" in result.stderr) == (1, True)
    taken = {"state": "Refused", "submission": "refused", "attention": "x", "attention_reason": "ponumber mismatch"}
    where = ORDERS.c.po_number == "a"
    database.write(lambda connection: connection.execute(sa.update(ORDERS).where(where).values(taken)))
    result = run("place-anew", "a", "a-2")
    assert (result.exit_code, "both are wanted" in result.stderr) == (1, True)
    assert answer(run("place-anew", "A", "a-2", "--both-wanted", "--actor", "Ann", "--json"))["po_number"] == "a-2"
    placed = answer(run("order", "a-2", "--json"))
    assert (placed["state"], placed["source"]) == ("Queued", "csv")
    assert "Ann placed this for a" in placed["timeline"][-1]["text"]


def test_an_order_nobody_knows_exits_with_1(run: Run) -> None:
    result = run("order", "nobody", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'nobody'" in result.stderr


def test_orders_are_listed_by_state_age_and_prefix(run: Run, folder: Path, database: Database) -> None:
    run("submit", wave(folder, "a-1,Links,CVS,10,1,x\na-2,Links,CVS,10,1,x\nb-1,Links,CVS,10,1,x\n"))

    def names(*arguments: str) -> list[str]:
        return [each["po_number"] for each in answer(run("orders", "--json", *arguments))]

    assert sorted(names()) == ["a-1", "a-2", "b-1"]
    assert sorted(names("--po-prefix", "a-")) == ["a-1", "a-2"]
    assert names("--state", "Completed") == names("--not-state", "queued") == names("--reason", "cancelled") == []
    assert len(names("--view", "open", "--not-state", "Completed")) == 3
    assert run("orders", "--view", "loud").exit_code == run("orders", "--reason", "loud").exit_code == 2
    assert len(names("--state", "queued", "--limit", "2")) == 2
    assert names("--older-than", "1h") == []
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    aged = sa.update(ORDERS).where(ORDERS.c.po_number == "a-1").values(created_at=long_ago)
    database.write(lambda connection: connection.execute(aged))
    assert names("--older-than", "90m") == ["a-1"]
    listed = answer(run("orders", "--json", "--limit", "1"))[0]
    assert "lines" not in listed
    assert "timeline" not in listed
    assert "3 of 3" in run("orders").stdout


def test_tables_obey_no_markup_and_no_terminal_codes(run: Run, folder: Path, database: Database) -> None:
    run("submit", wave(folder, "[red]a[/red],Links,CVS,10,1,x\n"))
    database.write(lambda connection: connection.execute(sa.update(ORDERS).values(state="\x1b[2Jodd")))
    shown = run("orders").stdout
    assert "[red]a[/red]" in shown
    assert "\x1b" not in shown


def test_events_are_listed_since_a_time_or_a_length(run: Run, folder: Path) -> None:
    run("submit", wave(folder))
    assert [each["kind"] for each in answer(run("events", "--json", "--since", "1h"))] == ["requested", "requested"]
    assert answer(run("events", "--json", "--since", "2100-01-01")) == []
    assert len(answer(run("events", "--json", "--since", "2020-01-01T09:00+02:00", "--limit", "1"))) == 1
    assert "submitted" in run("events").stdout
    for command, number in (("events", 2), ("orders", 2)):
        cut, whole = run(command, "--limit", 1, "--json"), run(command, "--limit", number, "--json")
        assert (len(answer(cut)), len(answer(whole))) == (1, number)
        assert ("there are more: --limit beyond 1" in cut.stderr, "there are more" in whole.stderr) == (True, False)


def test_exports_hold_every_order_in_three_forms_and_are_in_the_audit_log(
    run: Run, folder: Path, database: Database
) -> None:
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
    names = ("=1+1", "00123", "M\u00fcller")
    (folder / "wave.json").write_text(
        json.dumps([{"Type": "Links", "PONumber": name, "LineItems": [line]} for name in names])
    )
    run("submit", folder / "wave.json")
    for form in ("csv", "jsonl", "parquet"):
        assert answer(run("export", folder / f"orders.{form}", "--json"))["orders"] == 3
    data = (folder / "orders.csv").read_bytes()
    assert data.startswith(codecs.BOM_UTF8), "a spreadsheet knows by it how the letters are written"
    rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert {row["po_number"] for row in rows} == {"'=1+1", "'00123", "M\u00fcller"}
    lines = (folder / "orders.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["po_number"] for line in lines} == {*names}
    assert set(pd.read_parquet(folder / "orders.parquet")["po_number"]) == {*names}
    assert answer(run("export", folder / "some.csv", "--po-prefix", "M", "--json"))["orders"] == 1
    written = run("export", "-", "--what", "lines", "--format", "jsonl")
    assert [json.loads(line)["value"] for line in written.stdout.splitlines()] == ["10.00"] * 3
    assert "3 lines written" in written.stderr
    assert answer(run("export", folder / "none.csv", "--what", "deliveries", "--json"))["deliveries"] == 0
    with database.read() as connection:
        details = connection.execute(sa.select(AUDIT_LOG.c.detail).where(AUDIT_LOG.c.kind == "exported")).scalars()
        assert [(each["what"], each["rows"]) for each in details] == [
            *[("orders", 3)] * 3, ("orders", 1), ("lines of orders", 3), ("deliveries", 0),
        ]  # fmt: skip
    entries = answer(run("audit", "--kind", "exported", "--since", "1h", "--json"))
    assert (entries[2]["seq"], entries[2]["detail"]["rows"]) == (5, 1)
    listed = run("audit", "--limit", "3").stdout
    assert "Exported orders, as CSV, 1 row" in listed
    assert "Exported lines of orders, as JSONL, 3 rows" in listed
    told = answer(run("verify", "--json"))
    assert run("verify", "--expect-audit-head", told["audit_head"]).exit_code == 0
    assert "has no entry 9" in run("verify", "--expect-audit-head", f"9{told['audit_head'][1:]}").stdout


def test_an_export_that_cannot_be_written_leaves_nothing_behind(run: Run, folder: Path) -> None:
    assert run("export", folder / "missing" / "orders.csv").exit_code == 1
    (folder / "taken.csv").mkdir()
    assert run("export", folder / "taken.csv").exit_code == 2
    assert sorted(path.name for path in folder.iterdir()) == ["data", "taken.csv"]


# Many orders


def test_many_orders_are_planned_started_stopped_resumed_and_exported(
    run: Run, folder: Path, database: Database
) -> None:
    history = History(database, datetime.now(UTC))
    for name in ("a", "b", "c"):
        history.place(name)
        history.refuse(name)
    history.acknowledge("c", "done before")
    foreseen = run("bulk", "acknowledge", "--state", "refused", "--why", "told them", "--plan")
    assert foreseen.stdout.splitlines() == [
        "acknowledge: 2 of 3 orders, worth 20.00 (currency unknown)",
        "1 skipped: it is acknowledged already",
        "no API calls, takes 1 s or more; nothing was done: this is the plan",
    ]
    nobody = run("bulk", "poll", "--po", "nobody", "--plan").stdout.splitlines()
    assert nobody == ["poll: 0 of 0 orders", "nothing would be done: this is the plan"]
    for refused in (("acknowledge",), ("snooze", "--until", "2020-01-01"), ("acknowledge", "--why", "x" * 501)):
        assert run("bulk", *refused, "--all", "--plan").exit_code == 1, refused  # what the act itself would refuse
    planned = answer(run("bulk", "resend", "--all", "--plan", "--json"))
    assert (planned["acting"], planned["calls"], planned["values"]) == (3, 3, {"": "30.00"})
    assert run("bulk", "acknowledge", "--all").exit_code == 1  # without a reason
    begin = ("bulk", "acknowledge", "--po", "a", "--po", "b", "--why", "told them", "--key", "k", "--actor", "Ann")
    started = run(*begin)
    assert started.stdout.splitlines()[1] == "running: 0 done, 0 skipped, 2 waiting"
    assert "started; no worker is running: start" in started.stderr
    assert answer(run(*begin, "--json"))["id"] == 1
    assert run("jobs", 1, "--stop", "--actor", "Bob").stdout.splitlines()[2] == "stopped by Bob"
    assert run("jobs", 1, "--stop").exit_code == 1
    assert answer(run("jobs", 1, "--resume", "--json"))["state"] == "running"
    runner = JobRunner(
        database, owner="here/1/a", lease=timedelta(seconds=30), clock=lambda: datetime.now(UTC), max_rate=5
    )
    while asyncio.run(runner.turn()) is not None:
        pass
    assert answer(run(*begin, "--wait", "--json"))["done"] == 2
    assert run("jobs", 1).stdout.splitlines()[1] == "complete: 2 done, 0 skipped, 0 waiting"
    [listed] = answer(run("jobs", "--json"))
    assert (listed["act"], listed["person"], listed["filter"]) == ("acknowledge", "Ann", {"po": "2 selected"})
    assert "acknowledge" in run("jobs").stdout
    assert answer(run("jobs", 1, "--export", folder / "touched.csv", "--json"))["orders"] == 2
    assert pd.read_csv(folder / "touched.csv")["outcome"].to_list() == ["done", "done"]
    assert run("jobs", 9).exit_code == 1


# Keeping the store


def test_made_up_history_agrees_with_its_own_log(run: Run, database: Database) -> None:
    made = answer(run("seed", "--orders", "400", "--days", "20", "--json"))
    assert made["orders"] == 400
    told = answer(run("verify", "--json"))
    assert (told["agrees"], told["differences"]) == (True, [])
    assert run("verify", "--expect-head", told["head"]).exit_code == 0
    states = {each["state"] for each in answer(run("orders", "--limit", "400", "--json"))}
    assert "Completed" in states
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM outbox")).scalar() == 0


def test_made_up_history_goes_into_an_empty_store_only(run: Run) -> None:
    assert run("seed", "--orders", "1").exit_code == 0
    result = run("seed", "--orders", "1")
    assert result.exit_code == 1
    assert "empty database only" in result.stderr


def test_made_up_history_repeats_with_the_same_seed(run: Run, database: Database) -> None:
    run("seed", "--orders", "50", "--seed", "7")
    with database.read() as connection:
        units = sa.select(sa.func.sum(ORDERS.c.units), sa.func.sum(ORDERS.c.value_minor))
        first = connection.execute(units).one()
    database.write(
        lambda connection: [connection.execute(sa.delete(each)) for each in reversed(ORDERS.metadata.sorted_tables)]
    )
    run("seed", "--orders", "50", "--seed", "7")
    with database.read() as connection:
        assert connection.execute(units).one() == first


def test_verify_exits_with_1_and_says_what_differs(run: Run, folder: Path, database: Database) -> None:
    run("submit", wave(folder))
    assert run("verify").exit_code == 0
    finish(database)
    database.write(lambda connection: connection.execute(sa.update(COUNTERS).values(units=99)))
    result = run("verify")
    assert result.exit_code == 1
    assert "a: state is stored as 'Completed'" in result.stdout
    told = answer(run("verify", "--json"), code=1)
    assert not told["agrees"]
    assert any(difference.startswith("counter stock") for difference in told["differences"])


def test_verify_prints_a_head_that_can_be_asked_for_later(run: Run, folder: Path) -> None:
    run("submit", wave(folder))
    head = run("verify").stdout.splitlines()[-1].removeprefix("log head: ")
    run("submit", wave(folder, "c,Links,CVS,10,1,x\n", "more.csv"))
    assert answer(run("verify", "--expect-head", head, "--json"))["head"] != head
    forged = f"{head[:-1]}{'1' if head.endswith('0') else '0'}"
    assert "is not the expected one" in run("verify", "--expect-head", forged).stdout
    assert run("verify", "--expect-head", "7").exit_code == 2


ANN = "ann.lee@example.com"


@pytest.fixture
def mailed(folder: Path, run: Run, database: Database) -> Database:
    """Two orders for the same person, one of them taken by the provider."""
    header = HEADER.replace("ExternalId", "Email")
    file = folder / "mailed.csv"
    file.write_text(f"{header}sent,DigitalDelivery,CVS,10,1,{ANN}\nwaiting,DigitalDelivery,CVS,10,1,{ANN}\n")
    assert run("submit", file).exit_code == 0
    now = datetime.now(UTC)
    shown = Snapshot("BLK-1", "sent", "Pending", "DigitalDelivery", now, (Line(1, "CVS", 1000, 1, recipient=ANN),))
    planner = PlanningContext(Policy(), random.Random(1))

    def take(connection: sa.Connection) -> None:
        order_id = connection.execute(sa.select(ORDERS.c.id).where(ORDERS.c.po_number == "sent")).scalar_one()
        for witness, seen in ((Witness.US, Attempted(1)), (Witness.ANSWER, Answered(shown))):
            ingest.observe(connection, order_id, Observation(witness, now, now, seen), planner)

    database.write(take)
    return database


def test_erase_says_what_it_erased_and_what_had_to_stay(run: Run, mailed: Database) -> None:
    told = answer(run("erase", ANN.upper(), "--dry-run", "--json"), code=1)
    assert (told["dry_run"], told["orders"], told["refused"], told["lines"]) == (True, ["sent"], ["waiting"], 1)
    result = run("erase", ANN, "--yes")
    assert (result.exit_code, result.stdout) == (1, "erased: 1 line of 1 order\n")
    assert "waiting is still being sent" in result.stderr
    assert ANN not in result.output
    assert "(CLI)" in run("events").stdout
    assert run("verify").exit_code == 0


def test_an_evidence_file_is_made_proven_elsewhere_and_listed_once_its_recipient_is_erased(
    run: Run, mailed: Database, folder: Path
) -> None:
    file = folder / "proof.zip"
    made = answer(run("evidence", "BLK-1", "-o", file, "--with-log-head", "--actor", "Bea", "--json"))
    assert (made["po_number"], made["faults"]) == ("sent", [])
    assert run("evidence", "sent", "-o", folder / "masked.zip", "--masked").exit_code == 0
    elsewhere = {**os.environ, "TRACKING_DATABASE_URL": f"sqlite:///{folder}/nowhere/x.db"}
    proof = answer(CliRunner().invoke(app, ["verify-evidence", str(file), "--json"], env=elsewhere))
    assert (proof["holds"], proof["sha256"], proof["manifest"]["made_by"]) == (True, made["sha256"], "Bea")
    assert run("verify", "--expect-head", made["log_head"]).exit_code == 0
    file.write_bytes(file.read_bytes().replace(b'"form"', b'"forn"').replace(b'"csv"', b'"cvs"'))
    broken = run("verify-evidence", file)
    assert broken.exit_code == 1
    assert "events.jsonl: event 1 (requested) does not fit" in broken.stdout
    assert broken.stdout.startswith("DOES NOT HOLD: ")
    assert "it claims, and nothing proves it: sent: Open: Pending." in broken.stdout
    claims = answer(run("verify-evidence", file, "--json"), code=1)
    assert (claims["holds"], "verdict" in claims, claims["claims"]["verdict"]) == (False, False, "Open: Pending.")
    whole = run("verify-evidence", folder / "masked.zip").stdout.splitlines()
    assert whole[0].startswith("HOLDS in itself: ")
    assert [name for name in ("api-calls", "document", "webhook-calls") if any(
        line.startswith(f"{name}.json") and "vouched for by the manifest alone" in line for line in whole
    )] == ["api-calls", "document", "webhook-calls"]  # fmt: skip
    assert "No file proves itself" in whole[-1]
    assert run("verify-evidence", folder / "mailed.csv").exit_code == 2
    assert run("verify-evidence", folder / "none.zip").exit_code == 2
    erased = run("erase", ANN, "--yes").stderr
    assert f"by Bea, with recipients in full, SHA-256 {made['sha256']}" in erased
    assert erased.count("sent: an evidence file is out of reach") == 2
    assert ANN.encode() not in (folder / "masked.zip").read_bytes()
    before = file.read_bytes()
    assert run("evidence", "sent", "-o", file).exit_code == 2  # it may be proof that somebody has
    assert file.read_bytes() == before
    assert answer(run("evidence", "sent", "-o", file, "--replace", "--json"))["faults"] == []
    assert run("verify-evidence", file).exit_code == 0
    assert ANN.encode() not in file.read_bytes()


def test_an_order_is_shown_as_it_was_known_then(run: Run, mailed: Database) -> None:
    now = answer(run("order", "sent", "--as-of", datetime.now(UTC).isoformat(), "--json"))
    assert (now["then"], now["differences"], now["events"]) == ("Open: Pending.", [], 3)
    before = run("order", "sent", "--as-of", "1d").stdout
    assert "nothing was known of it; it was first heard of on" in before
    assert len(before.splitlines()) == 2  # no table without rows
    ahead = run("order", "sent", "--as-of", "2999-01-01")
    assert (ahead.exit_code, ahead.stdout, "is yet to come" in ahead.stderr) == (2, "", True)
    mailed.write(
        lambda connection: connection.execute(
            sa.update(EVENTS).where(EVENTS.c.seq == 3).values(learned_at=datetime.now(UTC) + timedelta(hours=1))
        )
    )
    then = run("order", "BLK-1", "--as-of", datetime.now(UTC).isoformat()).stdout
    assert "Open: Sending." in then
    assert re.search(r"State +Sending +Pending", then)


def test_erase_ends_with_0_where_nothing_stays_and_reads_the_recipient_from_stdin(mailed: Database, run: Run) -> None:
    mailed.write(lambda connection: connection.execute(sa.update(ORDERS).values(submission="refused")))
    result = CliRunner().invoke(app, ["erase", "-", "--yes", "--json"], input=f"{ANN}\n")
    assert answer(result)["lines"] == 2
    again = run("erase", ANN, "--yes")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "no recipient matches" in again.stderr


def test_erase_asks_a_person_and_refuses_to_guess(mailed: Database, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("erase", ANN).exit_code == 2
    monkeypatch.setattr(output, "is_interactive", lambda: True)
    declined = CliRunner().invoke(app, ["erase", ANN], input="n\n")
    assert (declined.exit_code, "1 line of 1 order: erase permanently?" in declined.stderr) == (1, True)
    assert answer(run("erase", ANN, "--dry-run", "--json"), code=1)["lines"] == 1
    assert CliRunner().invoke(app, ["erase", ANN], input="y\n").stdout.endswith("erased: 1 line of 1 order\n")


def test_migrate_says_from_where_to_where(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_DATABASE_URL", f"sqlite:///{folder}/new.db")
    first = answer(run("migrate", "--json"))
    assert first["before"] is None
    assert answer(run("migrate", "--json"))["before"] == first["now"]
    assert "already" in run("migrate").stdout


# Running


def test_the_sandbox_lists_its_scenarios(run: Run) -> None:
    assert [each["name"] for each in answer(run("sandbox", "--list", "--json"))] == list(SCENARIOS)
    shown = run("sandbox", "--list").stdout
    assert all(name in shown for name in SCENARIOS)


def test_a_file_that_is_no_memory_of_a_sandbox_is_told(run: Run, folder: Path) -> None:
    (folder / "notes.txt").write_text("no database" * 100)
    result = run("sandbox", "--database", folder / "notes.txt")
    assert result.exit_code == 1
    assert "cannot be used" in result.stderr


def test_a_worker_needs_something_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_ROLES", "pages")
    result = run("worker")
    assert result.exit_code == 2
    assert "names pages only" in result.stderr


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """The command in a process of its own, on a free port; it must end well when interrupted."""
    command = [sys.executable, "-m", "tracking", *arguments, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"http://\S+", said)):
            said = process.stderr.readline()
            assert said, "it ended without an address"
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def test_the_sandbox_answers_over_http_and_keeps_its_port(run: Run, folder: Path) -> None:
    with served(folder, "sandbox", "--history-days", "1") as address:
        headers = {"Email": "sandbox@example.com", "AccessToken": "sandbox"}
        token = httpx.post(f"{address}/v1/Tokens", headers=headers).json()["Value"]
        found = httpx.get(f"{address}/v1/Orders", headers={"Authorization": f"Bearer {token}"})
        second = run("sandbox", "--database", folder / "other.db", "--port", address.rpartition(":")[2])
    assert found.json()["TotalCount"] > 0
    assert second.exit_code == 1
    assert "cannot be listened on (Address already in use)" in second.stderr


# Backup and restore


def test_a_backup_says_what_it_holds_and_is_made_once(run: Run, folder: Path, database: Database) -> None:
    run("submit", wave(folder))
    told = answer(run("backup", folder / "copy.db", "--json"))
    assert (told["orders"], told["events"]) == (2, 2)
    again = run("backup", folder / "copy.db")
    assert (again.exit_code, "exists: choose another name" in again.stderr) == (1, True)
    assert "cannot be written" in run("backup", folder / "nowhere" / "copy.db").stderr
    assert "2 events of 2 orders" in run("backup", folder / "second.db").stdout


def test_a_store_is_said_to_be_restored(run: Run, folder: Path, database: Database) -> None:
    assert "sending waits until the provider was asked" in run("restored", "--since", "2h").stdout
    with database.read() as connection:
        assert restore_mark.find_mark(connection) is not None
    assert run("restored", "--since", "2999-01-01").exit_code == 2


# The laboratory


def test_a_history_is_replayed_for_people_and_for_programs(run: Run) -> None:
    answer(run("seed", "--orders", 60, "--days", 1, "--json"))
    told = answer(run("replan", "--policy", "doubling", "--ceiling", "60", "--json"))
    assert told["tried"]["setting"] == "up to 60 s"
    assert told["frontier"] == []
    result = run("replan", "--policy", "doubling", "--ceiling", "60")
    assert result.exit_code == 0
    for words in ("recorded", "current, replayed", "alternative: doubling", *told["said"], *told["basis"]):
        assert words in result.stdout


def test_too_little_history_is_told_in_a_sentence(run: Run) -> None:
    result = run("replan", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(
        "there is too little history to replay: fewer than 20 orders completed in that period\n"
    )


# Which store it is, and that reading makes none


@pytest.mark.parametrize(
    "arguments",
    [
        ("order", "a"),
        ("orders",),
        ("orders", "--json"),
        ("why", "a"),
        ("events",),
        ("export", "orders.csv"),
        ("verify",),
        ("verify", "--json"),
        ("replan",),
        ("backup", "copy.db"),
        ("erase", "ann@example.com", "--dry-run"),
        ("restored", "--since", "2h"),
    ],
)
def test_where_there_is_no_store_a_command_says_so_and_makes_none(
    run: Run, folder: Path, arguments: tuple[str]
) -> None:
    shutil.rmtree(folder / "data")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"database: {folder}/data/tracking.db" in result.stderr
    assert f"there is no database at {folder}/data/tracking.db" in result.stderr
    assert list(folder.iterdir()) == []


def test_a_store_of_an_older_version_is_migrated_by_no_command_that_reads(run: Run, folder: Path) -> None:
    file = folder / "data" / "tracking.db"
    with closing(driver.dbapi.connect(file)) as other:
        other.execute("UPDATE alembic_version SET version_num = '0001'")
        other.commit()
    result = run("verify")
    with closing(driver.dbapi.connect(file)) as other:
        assert other.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        other.execute("UPDATE alembic_version SET version_num = ?", [HEAD])
        other.commit()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the database is at revision 0001" in result.stderr
    assert "run tracking migrate" in result.stderr


def test_a_file_is_checked_without_a_store_and_none_is_made(run: Run, folder: Path) -> None:
    shutil.rmtree(folder / "data")
    file = wave(folder)
    assert run("submit", file, "--dry-run").exit_code == 0
    assert list(folder.iterdir()) == [file]
    assert run("submit", file).exit_code == 0
    assert (folder / "data" / "tracking.db").is_file()


def test_each_command_says_which_store_it_works_with_and_never_in_its_answer(run: Run, folder: Path) -> None:
    result = run("orders", "--json")
    assert (answer(result), result.stderr) == ([], f"database: {folder}/data/tracking.db\n")
    assert "database:" in run("submit", wave(folder)).stderr


def test_the_password_of_a_server_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    context.print_store("postgresql+psycopg://ops:hush-hush@db.example.com/tracking")
    assert capsys.readouterr().err == "database: postgresql+psycopg://ops:***@db.example.com/tracking\n"


def test_from_elsewhere_the_store_is_that_of_the_console(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = tmp_path_factory.mktemp("console")
    for name in ("dashboard.py", "pyproject.toml"):
        (console / name).touch()
    monkeypatch.setattr(folders, "_PACKAGE", console / "tracking")
    monkeypatch.delenv("TRACKING_DATABASE_URL")
    assert context.load_settings().database_url == f"sqlite:///{folder}/data/tracking.db", "the store itself is here"
    shutil.rmtree(folder / "data")
    assert context.load_settings().database_url == f"sqlite:///{console}/data/tracking.db"
    (console / ".env").write_text("TRACKING_DATABASE_URL=sqlite:///kept/other.db\nTRACKING_API_MAX_RATE=9\n")
    loaded = context.load_settings()
    assert (loaded.database_url, loaded.api_max_rate) == (f"sqlite:///{console}/kept/other.db", 9)
    assert loaded.data_folder == console / "kept"
    (folder / ".env").write_text("TRACKING_DATABASE_URL=sqlite:///here.db\n")
    loaded = context.load_settings()
    assert (loaded.database_url, loaded.api_max_rate) == (f"sqlite:///{folder}/here.db", 5)


# What only a worker does


def test_a_command_that_found_the_store_locked_promises_nothing(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 50)
    file = wave(folder)
    with closing(driver.dbapi.connect(folder / "data" / "tracking.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        result = run("submit", file)
        holder.execute("ROLLBACK")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the database is locked by another process" in result.stderr
    assert "this is not retried: run the command again" in result.stderr
    assert "by itself" not in result.stderr
    assert answer(run("orders", "--json")) == []


def test_what_is_announced_for_an_open_order_is_qualified_while_nobody_does_it(
    run: Run, folder: Path, database: Database
) -> None:
    run("submit", wave(folder, "a,Links,CVS,10,1,x\n"))
    for command in ("order", "why"):
        assert "the order is waiting; no sender is running: start `tracking console`" in run(command, "a").stderr
    now = datetime.now(UTC)
    database.write(lambda connection: facts.set_fact(connection, "beat:sender", {"role": "sender"}, now))
    assert "no sender" not in run("order", "a").stderr
    finish(database, "Processing")
    assert "no poller is running" in run("order", "a").stderr
    finish(database)
    assert "is running" not in run("order", "a").stderr


def test_an_order_that_cannot_be_found_is_said_to_be_none_or_one_of_several(run: Run, database: Database) -> None:
    history = History(database)
    for name in ("FT-1", "FT-2"):
        history.place(name, external_id="twice")
    assert "no order matches 'NOPE'" in run("order", "NOPE").stderr
    assert "more than one order matches 'twice': give its PO number" in run("why", "twice").stderr


def test_why_says_of_an_open_order_in_json_how_old_it_is_in_seconds(run: Run, database: Database) -> None:
    history = History(database, at=datetime.now(UTC) - timedelta(minutes=2))
    history.place("a")
    history.accept("a")
    told = answer(run("why", "--json", "a"))
    assert 120 <= told["expected"]["age"] < 180
    assert told["expected"]["half_within"] is None
    assert told["late_at"].endswith("+00:00")


def test_only_who_needs_a_person_is_marked_so_and_what_is_missing_is_empty(run: Run, database: Database) -> None:
    history = History(database)
    history.place("flagged", recipient="ann@example.com")
    for name in ("acknowledged", "fine", "linkless"):
        history.place(name)
    for name in ("flagged", "acknowledged"):
        history.refuse(name)
    acknowledge: dict[str, Any] = {"text": "seen", "actor": "ada", "now": history.at, "acknowledges": True}
    database.write(lambda connection: ingest.record_note(connection, history.numbers["acknowledged"], **acknowledge))
    shown = run("orders").stdout
    marked = [text.split()[0] for text in shown.splitlines() if "needs a decision" in text]
    assert marked == ["flagged"]
    words = re.compile(r"\b(nan|NaN|None|NaT|<NA>)\b")
    for command in (("orders",), ("order", "linkless"), ("order", "flagged"), ("events",), ("why", "fine")):
        assert not words.search(run(*command).stdout), command


def test_a_count_that_stopped_says_more_than(run: Run, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(database)
    for number in range(5):
        history.place(f"po-{number}")
    for module in (conditions, search):
        monkeypatch.setattr(module, "COUNTED", 3)
    assert run("orders", "--po-prefix", "po-", "--limit", 2).stdout.splitlines()[-1] == "2 of more than 3"
    deep = search.orders_page(database, Filters(po_prefix="po-", page=5, page_size=1), history.at)
    assert (deep.number, deep.more) == ("at least 5", True)
    assert run("orders", "--limit", 2).stdout.splitlines()[-1] == "2 of 5"


def test_erase_lists_who_may_be_the_same_for_a_person_to_decide(run: Run, database: Database) -> None:
    history = History(database)
    history.place("tagged", recipient="ann+gifts@example.com")
    result = run("erase", "Ann@Example.com", "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    line = "tagged: a***@example.com, the same e-mail address but for a tag, a dot or an accent"
    assert line in result.stderr.splitlines()
    told = answer(run("erase", "Ann@Example.com", "--dry-run", "--json"), 1)
    assert [each["po_number"] for each in told["possible"]] == ["tagged"]
    assert "ann+gifts" not in result.output


@pytest.fixture
def past(database: Database, folder: Path) -> Path:
    """A store with an order that was complete long ago."""
    history = History(database)
    history.place("po-1", recipient="ann@example.com")
    history.accept("po-1")
    history.look("po-1", "Cancelled")
    history.acknowledge("po-1", "told Ann")
    history.place("po-2")
    return folder


def test_old_orders_are_archived_and_the_files_verified(past: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("archive", "a")
    assert (refused.exit_code, "TRACKING_KEEP_DAYS" in refused.output) == (2, True)
    monkeypatch.setenv("TRACKING_KEEP_DAYS", "30")
    planned = run("archive", "a", "--dry-run")
    assert (planned.exit_code, "2026-03: 1 order would be archived" in planned.output) == (0, True)
    monkeypatch.setattr(output, "is_interactive", lambda: True)
    asked = CliRunner().invoke(app, ["archive", "a"], input="n\n")
    assert (asked.exit_code, "1 order leave the database" in asked.stderr, (past / "a").exists()) == (1, True, False)
    done = json.loads(run("archive", "a", "--json", "--yes").stdout)
    assert (done["orders"], done["removed"], done["unsound"], done["lost"]) == (1, 1, 0, [])
    assert run("verify").exit_code == 0
    assert run("verify-archive", "a").exit_code == 0
    assert "1 line, which left the database with their claim data" in run("order", "po-1").stdout
    run("evidence", "po-1", "-o", "po-1.zip")
    assert "events left the database before and are not in it" in run("verify-evidence", "po-1.zip").stdout
    erased = run("erase", "bob@example.com", "--yes")
    assert "orders that are archived name nobody any more" in erased.output
    assert "out of reach, without recipients but with what people wrote: 1 archive" in erased.output
    elsewhere = run("verify-archive", "b")
    assert (elsewhere.exit_code, "no file of the archives is in b" in elsewhere.stdout) == (1, True)
    assert f"not verified: 1 file of 2026-03, written to {past / 'a'} (--all-folders" in elsewhere.stdout
    assert run("verify-archive", "b", "--all-folders").exit_code == 0
    [file] = (past / "a").iterdir()
    file.write_bytes(b"")
    broken = run("verify-archive", "a")
    assert (broken.exit_code, file.name in broken.output) == (1, True)
