"""Files that others take along: no cell is a formula, amounts are decimals in their currency, recipients are masked."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest
from fakes import request
from histories import History, sell
from sqlalchemy import Connection, insert, update
from sqlmodel import AutoString

from tracking import ingest
from tracking.orders import wording
from tracking.orders.model import Line
from tracking.reports.exports import writing
from tracking.reports.exports.columns import names_of
from tracking.reports.exports.orders import ORDER_COLUMNS
from tracking.reports.exports.writing import expected_sizes, write_export
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.storage.integration.tables import DELIVERIES, SUBSCRIPTIONS, Deliveries, Subscriptions
from tracking.storage.tables import ORDERS
from tracking.storage.team.tables import IMPORT_ROWS
from tracking.submissions import results

SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
SPACES = ("", " ", "\t", "\r", "\n", "\u00a0", "\u3000", "\ufeff", "\u200b")
FORMULAS = [f"{space}{sign}HYPERLINK(1)" for space in SPACES for sign in SIGNS]
# A spreadsheet that parts cells at semicolons or tabs begins a cell of its own within these.
WITHIN = ["a;=1", "a; =1", 'a;"=1', "a\t+1", "a\n@1", "a\r-1", "a;\uff1d1"]
TEXTS = [name for name in names_of(ORDER_COLUMNS) if name in ORDERS.c and isinstance(ORDERS.c[name].type, AutoString)]
SEPARATORS = (",", ";", "\t")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def formulas(file: str, separator: str) -> list[str]:
    """The cells of the file that a spreadsheet with this separator would run."""
    rows = csv.reader(io.StringIO(file, newline=""), delimiter=separator)
    cells = [
        cell.strip(" \t\r\n\"'\u00a0\u3000\ufeff\u200b") if cell[:1] != "'" else cell for row in rows for cell in row
    ]
    return [cell for cell in cells if cell.startswith(SIGNS) and not NUMBER.fullmatch(cell)]


@pytest.fixture
def engine() -> str:
    """Cells are made harmless after the store was read: one engine will do."""
    return "sqlite"


@pytest.fixture
def po_numbers(store: Database, now: datetime) -> list[str]:
    """Orders all of whose texts are formulas."""

    def place(connection: Connection) -> list[str]:
        names = [f"{text}{number}" for number, text in enumerate([*FORMULAS, *WITHIN])]
        for name in names:
            ingest.place(connection, replace(request(), po_number=name), source="csv", actor=None, now=now)
            spoilt = dict.fromkeys(TEXTS, name)
            connection.execute(update(ORDERS).where(ORDERS.c.po_number == name).values(**spoilt))
        return names

    return store.write(place)


def test_no_text_of_an_order_is_a_formula_in_an_export(store: Database, po_numbers: list[str], now: datetime) -> None:
    file = io.BytesIO()
    assert write_export(store, Filters(), now, form="csv", file=file) == len(po_numbers)
    assert {"po_number", "state", "type", "currency", "attention"} <= set(TEXTS)
    assert [formulas(file.getvalue().decode(), separator) for separator in SEPARATORS] == [[], [], []]


@pytest.mark.parametrize(
    "text",
    [
        *("00123", "123456789012", "1E5", "12.3e+4", "12345.0", "1,000", "1.000.000", "1 000,5", "5%", "$5", "(5)"),
        *("3-24", "2026-11-23", "1/2", "24.12.2026", "MAR1", "Feb-01", "1 Dez", "SEPT2", "10:30", "TRUE", "wahr"),
    ],
)
def test_an_identifier_that_a_spreadsheet_would_make_a_number_stays_a_text(text: str) -> None:
    assert wording.spreadsheet_identifier(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["A-1", "123", "0", "FT-20261123-ABCDEF", "GCP-00123", "E5", "MARS1", "MAR-A1", "10:3", None, 7]
)
def test_any_other_identifier_stays_as_it_is(value: object) -> None:
    assert wording.spreadsheet_identifier(value) == value


def test_no_text_is_a_formula_in_the_outcome_of_a_file(store: Database, po_numbers: list[str]) -> None:
    rows = [
        {
            "batch_id": 7, "number": at, "po_number": name, "po_folded": name, "outcome": "rejected", "message": name,
            "lines": [[at, name, 1000, 1, name]],
        }
        for at, name in enumerate(po_numbers, 1)
    ]  # fmt: skip
    store.write(lambda connection: connection.execute(insert(IMPORT_ROWS), rows))
    outcome = results.outcome_rows(store, 7)
    assert len(outcome) == len(po_numbers)
    assert set(outcome["value"]) == {"10.00"}
    assert [formulas(outcome.to_csv(index=False), separator) for separator in SEPARATORS] == [[], [], []]


def test_the_check_of_these_tests_finds_what_is_not_guarded() -> None:
    assert formulas("a,=1\n-x,'=1\n", ",") == ["=1", "-x"]
    assert formulas("a;=1,-5,' =2\n", ";") == ["=1,-5,' =2"]


PARTS = ("orders", "lines", "events", "deliveries")


def read_back(store: Database, what: str, form: str, now: datetime, **query: Any) -> list[dict[str, Any]]:
    """The rows of an export, as a program reads them."""
    file = io.BytesIO()
    write_export(store, Filters(**query), now, form=form, file=file, what=what)
    file.seek(0)
    match form:
        case "csv":
            return list(csv.DictReader(io.StringIO(file.read().decode("utf-8-sig"))))
        case "jsonl":
            return [json.loads(line) for line in file.read().decode().splitlines()]
    return list(pq.read_table(file).to_pylist())


@pytest.fixture
def parts(history: History) -> History:
    """Two orders of two lines: one is complete, of the other nothing was sent; one notification was delivered."""
    sell(history, CVS="USD", MAPLE="CAD", DINAR="KWD")
    lines = (Line(1, "CVS", 1050, 3, recipient="ann@example.com"), Line(2, "MAPLE", 1000, 1, external_id="00123"))
    history.place("A-1", made=lines)
    history.complete("A-1")
    history.place("A-2", made=(Line(1, "DINAR", 150, 1), Line(2, "NOBODY", 500, 2)))
    subscribed: dict[str, Any] = {
        "name": "ledger",
        "url": "https://example.com/secret-path",
        "state_at": history.at,
        "state_by": "Ann",
    }
    subscribed |= {"created_at": history.at, "created_by": "Ann"}
    sent: dict[str, Any] = {
        "subscription_id": 1,
        "message_id": "msg_1",
        "event_type": "order.completed",
        "order_id": 1,
        "seq": 4,
    }
    sent |= {"created_at": history.at, "state": "delivered", "attempts": 2, "next_attempt_at": history.at}
    sent |= {"settled_at": history.at, "last_status": 204, "payload": '{"kanari": 1}'}

    def deliver(connection: Connection) -> None:
        connection.execute(insert(SUBSCRIPTIONS).values(Subscriptions(**subscribed).model_dump(exclude={"id"})))
        connection.execute(insert(DELIVERIES).values(Deliveries(**sent).model_dump(exclude={"id"})))

    history.database.write(deliver)
    return history


def test_amounts_are_decimals_and_currencies_are_never_added(parts: History) -> None:
    lines = [row for row in read_back(parts.database, "lines", "parquet", parts.at) if row["po_number"] == "A-1"]
    assert [(row["value"], row["total"], row["currency"]) for row in lines] == [
        (Decimal("10.50"), Decimal("31.50"), "USD"), (Decimal("10.00"), Decimal("10.00"), "CAD"),
    ]  # fmt: skip
    first = {row["po_number"]: row for row in read_back(parts.database, "orders", "parquet", parts.at)}["A-1"]
    assert (first["value"], first["cost"]) == (None, None)
    assert first["value_by_currency"] == [("CAD", Decimal("10.00")), ("USD", Decimal("31.50"))]
    second = {row["po_number"]: row for row in read_back(parts.database, "orders", "jsonl", parts.at)}["A-2"]
    assert (second["value"], second["currency"]) == (None, None)
    assert second["value_by_currency"] == {"": "10.00", "KWD": "1.500"}
    cells = {row["po_number"]: row for row in read_back(parts.database, "orders", "csv", parts.at)}["A-1"]
    assert cells["value_by_currency"] == '{"CAD": "10.00", "USD": "31.50"}'


def test_every_amount_that_a_database_holds_fits_into_parquet(parts: History) -> None:
    most = 2**63 - 1
    parts.database.write(lambda connection: connection.execute(update(ORDERS).values(value_minor=most, currency="USD")))
    rows = read_back(parts.database, "orders", "parquet", parts.at)
    assert {row["value"] for row in rows} == {Decimal(most).scaleb(-2)}


def test_lines_are_exported_masked_and_without_a_status_that_nobody_has_shown(parts: History) -> None:
    rows = read_back(parts.database, "lines", "jsonl", parts.at)
    assert [(row["po_number"], row["number"]) for row in rows] == [("A-2", 1), ("A-2", 2), ("A-1", 1), ("A-1", 2)]
    assert [row["status"] for row in rows] == [None, None, "Completed", "Completed"]
    assert [row["currency"] for row in rows] == ["KWD", None, "USD", "CAD"]
    assert rows[2]["recipient"]
    assert "ann@" not in json.dumps(rows)
    cells = read_back(parts.database, "lines", "csv", parts.at)
    assert (cells[3]["external_id"], cells[1]["status"], cells[1]["currency"]) == ("'00123", "", "")


def test_events_and_deliveries_are_exported_by_order(parts: History) -> None:
    rows = read_back(parts.database, "events", "parquet", parts.at, only=("A-1",))
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["state"] for row in rows][:3] == ["Queued", "Sending", "Pending"]
    assert rows[-1]["learned_at"].tzinfo is not None
    [row] = read_back(parts.database, "deliveries", "jsonl", parts.at)
    assert (row["subscription"], row["state"], row["last_status"]) == ("ledger", "delivered", 204)
    assert row["next_attempt_at"] is None
    assert "secret-path" not in str(row)
    assert "kanari" not in str(row)


@pytest.mark.parametrize("what", PARTS)
def test_parts_read_a_few_rows_at_once_and_miss_none(
    parts: History, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = read_back(parts.database, what, "jsonl", parts.at)
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 1)
    assert read_back(parts.database, what, "jsonl", parts.at) == at_once
    assert len(list(writing.export_chunks(parts.database, Filters(), parts.at, what))) == 2


@pytest.mark.parametrize("what", ["orders", "lines", "events"])
def test_how_large_a_file_is_can_be_told_beforehand(parts: History, what: str) -> None:
    for number in range(100):
        parts.place(f"SIZE-2026-{number:04}")
        parts.accept(f"SIZE-2026-{number:04}")
    filters = Filters(po_prefix="SIZE-")
    expected = expected_sizes(parts.database, filters, parts.at, what, 100)
    for form in ("csv", "jsonl"):
        file = io.BytesIO()
        write_export(parts.database, filters, parts.at, form=form, file=file, what=what)
        assert 0.8 < expected[form] / len(file.getvalue()) < 2.5, (form, expected[form], len(file.getvalue()))
    assert expected_sizes(parts.database, filters, parts.at, "deliveries", 100) == {}
