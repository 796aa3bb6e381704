"""No cell of any file that is made for a spreadsheet is taken for a formula."""

import csv
import io
import re
from dataclasses import replace
from datetime import datetime

import pytest
from fakes import request
from sqlalchemy import Connection, insert, update
from sqlmodel import AutoString

from tracking import ingest
from tracking.orders import wording
from tracking.reports.exports.columns import names_of
from tracking.reports.exports.orders import ORDER_COLUMNS
from tracking.reports.exports.writing import write_export
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
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
    "text", ["00123", "123456789012", "1E5", "12.3e+4", "12345.0", "3-24", "2026-11-23", "1/2", "24.12.2026"]
)
def test_an_identifier_that_a_spreadsheet_would_make_a_number_stays_a_text(text: str) -> None:
    assert wording.spreadsheet_identifier(text) == f"'{text}"


@pytest.mark.parametrize("value", ["A-1", "123", "FT-20261123-ABCDEF", "GCP-00123", "E5", None, 7])
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
    assert [formulas(outcome.to_csv(index=False), separator) for separator in SEPARATORS] == [[], [], []]


def test_the_check_of_these_tests_finds_what_is_not_guarded() -> None:
    assert formulas("a,=1\n-x,'=1\n", ",") == ["=1", "-x"]
    assert formulas("a;=1,-5,' =2\n", ";") == ["=1,-5,' =2"]
