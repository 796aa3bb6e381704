"""Amounts of several currencies are never added up, wherever orders are shown; what nobody knows is called unknown."""

import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from fakes import order_json
from histories import History, sell

from tracking import ingest
from tracking.api import reading
from tracking.orders.model import Line, OrderRequest, Witness
from tracking.orders.observations import Answered
from tracking.provider.responses import read_order
from tracking.reports import amounts, order
from tracking.reports.board import decisions, lifecycle
from tracking.reports.evidence import proof
from tracking.reports.exports.writing import write_export
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import lines, verdicts
from tracking.reports.team import handover, handover_wording, imports
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.team import plans


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


# What each order is worth, in minor units; of the last one nothing tells its two currencies apart any more.
WORTH: dict[str, dict[str, int]] = {
    "dollars": {"USD": 1_000_003},
    "yen": {"JPY": 20_000_000},
    "dinars": {"KWD": 3_000_050},
    "nobody knows": {"": 400_011},
    "both": {"USD": 50_000_007, "CAD": 600_000_013},
    "lost": {"GBP": 7_000_000_017, "EUR": 80_000_000_019},
}


def sums_over_currencies() -> set[str]:
    """Digits of every sum of what some of the orders are worth that is one of two currencies or more."""
    parts = [(currency, minor) for each in WORTH.values() for currency, minor in each.items()]
    sums = {
        sum(minor for _, minor in some)
        for number in range(2, len(parts) + 1)
        for some in itertools.combinations(parts, number)
        if len({currency for currency, _ in some}) > 1
    }
    return {text for minor in sums for text in (str(minor), f"{minor / 100:.2f}", f"{minor / 100:.3f}")}


@pytest.fixture
def currencies(history: History, store: Database) -> dict[str, int]:
    """An import of these orders."""
    products = ("USD", "CAD", "GBP", "EUR", "JPY", "KWD")
    sell(history, **{f"in {currency}": currency for currency in products})
    for name, worth in WORTH.items():
        made = [Line(at, f"in {currency}", minor, 1) for at, (currency, minor) in enumerate(worth.items(), 1)]
        asked = OrderRequest(name, "Links", tuple(made), {})
        known: dict[str, Any] = {
            "source": "csv",
            "actor": "Ann",
            "now": history.at,
            "values": worth if len(worth) > 1 else None,
        }
        history.numbers[name] = store.write(partial(ingest.place, request=asked, **known))
    lost = sa.delete(LINES).where(LINES.c.order_id == history.numbers["lost"])
    store.write(lambda connection: connection.execute(lost))
    flagged = sa.update(ORDERS).values(attention="somebody has to decide", attention_reason="other", batch_id=1)
    store.write(lambda connection: connection.execute(flagged))
    imported = {"digest": "1", "name": "orders.csv", "rows": 7, "orders": 6, "created_at": history.at}
    store.write(lambda connection: connection.execute(sa.insert(BATCHES).values(imported)))
    return history.numbers


def said_of(history: History, store: Database, numbers: Mapping[str, int]) -> dict[str, str]:
    """What each place says that shows amounts, by its name."""
    at, filters = history.at, Filters(page_size=50)
    file = io.BytesIO()
    write_export(store, filters, at, form="jsonl", file=file)
    open_orders = lifecycle.lifecycle_now(store, at).values.to_dict("records")
    pages = [verdicts.order_view(store, number, at) for number in numbers.values()]
    return {
        "overview": " ".join(amounts.worth({row["currency"]: int(row["value_minor"])}) for row in open_orders),
        "decisions": " ".join(amounts.worth(group.values) for group in decisions.decisions(store, at).groups),
        "handover": handover_wording.markdown(handover.handover(store, at - timedelta(hours=1), at), "UTC"),
        "list": " ".join(search.orders_page(store, filters, at).rows["worth"]),
        "orders --json": json.dumps(search.order_records(store, filters, at)),
        "order --json": " ".join(json.dumps(order.order_record(store, number)) for number in numbers.values()),
        "export": file.getvalue().decode(),
        "plan": amounts.worth(
            plans.plan(store, filters, plans.Act.SNOOZE, plans.Parameters(), now=at, max_rate=5).values
        ),
        "import": amounts.worth(imports.import_view(store, 1, at).values),
        "page": " ".join(f"{page.worth} {page.summary} {page.verdict}" for page in pages),
        "evidence": " ".join(str(facts_of) for facts_of in _evidence(store, numbers)),
        "API": json.dumps([reading.orders_document(store, filters, None, at), reading.counts_document(store, "", at)]),
    }


def _evidence(store: Database, numbers: Mapping[str, int]) -> Iterator[Mapping[str, str]]:
    for stored in store.write(lambda connection: orders.find_orders(connection, list(numbers.values()))):
        yield proof.facts(stored.order, str)


def test_no_place_that_shows_amounts_adds_up_two_currencies(
    history: History, store: Database, currencies: dict[str, int]
) -> None:
    never = sums_over_currencies()
    for place, text in said_of(history, store, currencies).items():
        numbers = set(re.findall(r"\d+(?:\.\d+)?", text.replace(",", "")))
        assert numbers & {"200000", "200000.00"}, f"{place} shows no amount of one currency"
        assert not numbers & never, place
        if place not in {"orders --json", "order --json", "API", "evidence"}:
            assert "several currencies" in text, place
