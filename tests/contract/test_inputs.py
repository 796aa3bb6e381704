"""Whatever people type or hand in: a clear refusal or something that works, never a stack trace."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import NOW, line
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tracking.access import Person
from tracking.app.cli.main import app
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import PAGE_SIZE, SORTS, VIEWS, Filters
from tracking.reports.order_list.query_params import parse_length
from tracking.storage.database import Database, connect
from tracking.submissions import files
from tracking.submissions.requests import read_request
from tracking.team.imports.handing_in import submit_file

# What a command line holds where its bytes are no UTF-8.
ARGUMENTS = st.text(
    st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=30
)
NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), st.from_regex(r"[-+]?\d{1,30}(\.\d{1,30})?(e\d+)?"))
LENGTHS = st.one_of(st.text(max_size=12), st.from_regex(r"\A\d{1,12} ?[smhdw]\Z"))
TIMES = st.one_of(
    st.text(max_size=30), st.datetimes().map(str), st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d[+-]\d\d:\d\d\Z")
)
TEXTS = st.text(st.characters(codec=None, categories=None), max_size=40)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("q", "state", "type", "source", "product", "prefix"), TEXTS),
        "view": st.sampled_from(VIEWS) | TEXTS,
        "sort": st.sampled_from(sorted(SORTS)) | TEXTS,
        "asc": st.sampled_from(["true", "1", "no"]),
        **dict.fromkeys(("from", "to"), TIMES),
        **dict.fromkeys(("min", "max", "page", "size"), NUMBERS | TEXTS),
        "older": LENGTHS,
    },
)
QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the command line is called, with a store of its own."""
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/data/tracking.db"
    monkeypatch.setenv("TRACKING_DATABASE_URL", url)
    connect(url)
    yield tmp_path
    connect(url).close()


@pytest.fixture
def run(folder: Path) -> Run:
    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
        assert result.exit_code in {0, 1, 2}
        assert result.exit_code == 0 or result.output.strip(), "a refusal says why"
        return result

    return call


# Filters in an address


@given(query=QUERIES)
@example(query={"older": "999999999d"})
@example(query={"from": "0001-01-01", "to": "9999-12-31T23:59:59+00:00"})
@example(query={"q": "\x00", "prefix": "\udc80", "state": "a\x00,b"})
@example(query={"min": "1e15", "page": "1000000", "size": "500"})
@example(query={"min": "1E1000000", "max": "-1E-1000000", "q": "sNaN"})
@example(query={"min": "sNaN", "max": "Infinity"})
@QUICK
def test_any_query_gives_a_page_of_orders(query: dict[str, str], store: Database) -> None:
    filters, problems = Filters.from_query(query)
    assert all(problem.where in query and problem.message for problem in problems)
    page = search.orders_page(store, filters, NOW)
    assert (len(page.rows), search.orders_page(store, filters, NOW).total) == (0, 0)


@given(QUERIES)
@example({"older": "1d", "min": "0.001", "from": "2026-01-31T09:00:00.5+02:00"})
@QUICK
def test_what_a_query_says_survives_its_way_through_an_address(query: dict[str, str]) -> None:
    filters, _ = Filters.from_query(query)
    assert Filters.from_query(filters.to_query()) == (filters, [])


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.lists(TEXTS, max_size=3), st.none()), max_size=4))
def test_a_query_of_any_names_and_shapes_is_a_filter(query: dict[str, Any]) -> None:
    assert Filters.from_query(query)[0].page_size == PAGE_SIZE or "size" in query


@given(LENGTHS)
def test_a_length_is_one_or_says_that_it_is_none(text: str) -> None:
    try:
        length = parse_length(text)
    except ValueError:
        return
    assert timedelta() <= length <= timedelta(days=999_999_999)


# The command line


@given(TIMES | LENGTHS | ARGUMENTS)
@example("2026-01-31T09:00+23:59")
@example("0001-01-01T00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
@example("999999999d")
@example("\udcff")
@QUICK
def test_events_since_anything(run: Run, since: str) -> None:
    run("events", f"--since={since}")


@given(LENGTHS | ARGUMENTS, ARGUMENTS, ARGUMENTS)
@example("36525d", "\udcff", "\x00")
@example("1h", "", "\udcff")
@QUICK
def test_orders_by_anything(run: Run, older: str, state: str, prefix: str) -> None:
    run("orders", f"--older-than={older}", f"--state={state}", f"--po-prefix={prefix}", "--json")
    run("orders", f"--state={state}", f"--po-prefix={prefix}")
    run("export", "orders.jsonl", f"--state={state}", f"--po-prefix={prefix}")


@given(ARGUMENTS)
@example("\udcff")
@example("\x00")
@example("\xad")
@QUICK
def test_an_order_called_anything(run: Run, name: str) -> None:
    assert run("order", "--", name).exit_code in {1, 2}


def test_a_file_and_a_person_of_any_name_are_taken(run: Run, folder: Path) -> None:
    (folder / "wave\udcff.json").write_text(json.dumps(DOCUMENT))
    run("submit", "wave\udcff.json", "--actor=\udcff")
    assert run("order", "p-1", "--json").exit_code == 0


@given(ARGUMENTS)
@example("\udcff")
@example("\x00")
@QUICK
def test_erasing_and_expecting_anything(run: Run, text: str) -> None:
    run("erase", "--dry-run", "--", text)
    assert run("verify", f"--expect-head={text}").exit_code in {1, 2}


# Files

DOCUMENT = {"Type": "Links", "PONumber": "p-1", "LineItems": [line()]}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["Type", "PONumber", "Note", "LineItems", "Personalization", "WebhookSettings", "type", "x"])
LINE_NAMES = st.sampled_from(
    ["ProductId", "Value", "Quantity", "ExternalId", "DigitalDeliveryAddress", "PhysicalDeliveryAddress", "Culture"]
)
DOCUMENTS = st.builds(
    lambda order, item: DOCUMENT | {"LineItems": [line() | item]} | order,
    st.dictionaries(NAMES, JSON_VALUES, max_size=2),
    st.dictionaries(LINE_NAMES, JSON_VALUES, max_size=2),
)
CELLS = st.one_of(TEXTS, NUMBERS, st.sampled_from(["Links", "CVS", "10", "1", "", '"', "a\nb", "=1+1", "10,5"]))
HEADS = st.lists(
    st.sampled_from(["PONumber", "Type", "Note", "ProductId", "Value", "Quantity", "ExternalId", "Email", "Zip", "x"]),
    max_size=8,
)
CSV = st.builds(
    lambda head, rows, mark: mark.join(head) + "\n" + "\n".join(mark.join(row) for row in rows),
    HEADS,
    st.lists(st.lists(CELLS, max_size=8), max_size=4),
    st.sampled_from([",", ";", "\t"]),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
FILES = st.one_of(
    st.binary(max_size=200).map(lambda data: ("json", data)),
    st.binary(max_size=200).map(lambda data: ("csv", data)),
    DOCUMENTS.map(lambda raw: ("json", json.dumps(raw).encode())),
    st.lists(DOCUMENTS, max_size=3).map(lambda raw: ("json", json.dumps(raw).encode())),
    CSV.map(lambda data: ("csv", data)),
)


@given(FILES)
@example(("json", json.dumps(DOCUMENT | {"PONumber": "\ud800"}).encode()))
@example(("csv", b"Type,ProductId,Value,Quantity,PONumber\nLinks,CVS,10,1,\x00\n"))
@QUICK
def test_a_file_of_anything_is_checked(run: Run, folder: Path, file: tuple[str, bytes]) -> None:
    form, data = file
    path = folder / f"wave.{form}"
    path.write_bytes(data)
    checked = run("submit", str(path), "--dry-run", "--json")
    assert (checked.exit_code == 1) == bool(json.loads(checked.stdout)["problems"])


@given(file=FILES)
@QUICK
def test_what_is_accepted_of_a_file_can_be_stored_and_reads_the_same_again(
    store: Database, file: tuple[str, bytes]
) -> None:
    form, data = file
    checked = (
        files.read_json(data, "wave.json", catalog=None, database=store)
        if form == "json"
        else files.read_csv(data, "wave.csv", catalog=None, chunk=10, now=NOW, database=store)
    )
    if checked.problems:
        return
    for request in checked.requests:
        assert read_request(json.loads(json.dumps(request.document))) == request
    receipts = submit_file(store, checked, source=form, by=Person("ann"), now=datetime.now(UTC))
    assert {receipt.outcome for receipt in receipts} <= {"queued", "exists", "rejected"}
