"""Amounts of several currencies are never added up, wherever orders are shown; what nobody knows is called unknown."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest
from fakes import order_json
from histories import History, sell

from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered
from tracking.provider.responses import read_order
from tracking.reports import amounts, order
from tracking.reports.board import lifecycle
from tracking.reports.exports.writing import write_export
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import lines, verdicts
from tracking.storage.database import Database
from tracking.storage.maintenance import verify


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


def answered(history: History, po_number: str, currency: str | None) -> None:
    """The provider takes the order, and says its currency or none."""
    document = order_json() | {"CurrencyCode": currency}
    said = read_order(document).snapshot.currency
    history.see(po_number, Answered(replace(history.snapshot(po_number, "Pending"), currency=said)), Witness.ANSWER)


def open_values(store: Database, history: History) -> Mapping[str, int]:
    """What the open orders are worth, as the overview's lifecycle shows it."""
    values = lifecycle.lifecycle_now(store, history.at).values
    return {str(name): int(value) for name, value in values.groupby("currency")["value_minor"].sum().items()}


def test_the_overview_keeps_currencies_apart(history: History, store: Database) -> None:
    for name, value, currency in (("usd", 1000, "USD"), ("cad", 100_000, "cad"), ("none", 700, None)):
        history.place(name, value=value)
        answered(history, name, currency)
    values = open_values(store, history)
    assert values == {"": 700, "CAD": 100_000, "USD": 1000}
    assert amounts.worth(values) == "7.00 (currency unknown) and 1,000.00 CAD and 10.00 USD"


def test_the_catalogue_tells_the_currency_that_an_order_does_not(history: History, store: Database) -> None:
    history.place("a", value=500, lines=2)
    assert open_values(store, history) == {"": 1000}
    sell(history, CVS="usd")
    assert open_values(store, history) == {"USD": 1000}
    assert verdicts.order_view(store, history.numbers["a"], history.at).worth == "10.00 USD"


@pytest.fixture
def mixed(history: History, store: Database) -> int:
    """An order of 5 USD and 10 CAD whose products the catalogue knows."""
    sell(history, CVS="USD", MAPLE="CAD")
    lines = (Line(1, "CVS", 500, 1), Line(2, "MAPLE", 1000, 1))
    return history.place("mixed", made=lines)


def test_an_order_of_two_currencies_has_no_sum_anywhere(history: History, store: Database, mixed: int) -> None:
    history.place("yen", made=(Line(1, "CVS", 500_000, 1),))
    answered(history, "yen", "JPY")
    said = "10.00 CAD and 5.00 USD"
    view = verdicts.order_view(store, mixed, history.at)
    assert view.worth == said
    assert list(lines.lines_page(store, mixed)["value"]) == ["5.00 USD", "10.00 CAD"]
    page = search.orders_page(store, Filters(sort="po number", descending=False), history.at)
    assert list(page.rows["worth"]) == [said, "5,000 JPY"]
    record = order.order_record(store, mixed)
    assert (record["value"], record["values"]) == (None, {"CAD": "10.00", "USD": "5.00"})
    assert [line["currency"] for line in record["lines"]] == ["USD", "CAD"]
    assert open_values(store, history) == {"CAD": 1000, "JPY": 500_000, "USD": 500}


def test_an_export_has_no_sum_of_two_currencies(history: History, store: Database, mixed: int) -> None:
    history.place("plain", value=1000)
    file = io.BytesIO()
    write_export(store, Filters(), history.at, form="jsonl", file=file)
    rows = {row["po_number"]: row for row in map(json.loads, file.getvalue().decode().splitlines())}
    told = {name: (row["value"], row["currency"], row["values"]) for name, row in rows.items()}
    assert told == {
        "mixed": (None, "CAD+USD", "10.00 CAD and 5.00 USD"),
        "plain": ("10.00", "USD", "10.00 USD"),
    }
    for form in ("csv", "parquet"):
        file = io.BytesIO()
        write_export(store, Filters(), history.at, form=form, file=file)
        file.seek(0)
        frame = pd.read_csv(file) if form == "csv" else pd.read_parquet(file)
        assert list(frame[frame["po_number"] == "mixed"]["value"].isna()) == [True]


def test_what_the_overview_does_not_add_up_from_lines_is_unknown(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(history, CVS="USD")
    monkeypatch.setattr(amounts, "ORDERS_BY_LINES", 2)
    for number in range(3):
        history.wait(minutes=1)
        history.place(f"po-{number}", value=100)
    assert open_values(store, history) == {"": 100, "USD": 200}
    assert verify.verify(store) == []
