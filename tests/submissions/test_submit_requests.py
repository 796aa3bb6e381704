import codecs
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.access import Access, Person
from tracking.errors import InvalidSubmission, NotAllowed, NotPermitted, UnknownOrder
from tracking.orders.model import State
from tracking.reports import activity
from tracking.storage import facts
from tracking.storage.database import Database, connect
from tracking.storage.maintenance import verify
from tracking.storage.tables import BATCHES, EVENTS, LINES, ORDERS, OUTBOX
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions, catalog, results
from tracking.submissions import files as uploads
from tracking.submissions import submit as submissions
from tracking.submissions.catalog import Catalog, parse_catalog
from tracking.submissions.checks.findings import group_problems
from tracking.submissions.files import CheckedFile
from tracking.submissions.requests import read_request
from tracking.team.imports.handing_in import submit_file

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ME, ANN = Person("cli:me"), Person("ann")
STORED: dict[str, Any] = {
    "products": [
        {
            "id": "CVS",
            "name": "CVS Pharmacy",
            "type": "Digital",
            "denominations": [1000, 2500, 5000],
            "denomination_type": "Fixed",
            "delivery_types": ["Links", "DigitalDelivery"],
            "fee_minor": 0,
            "discount_percent": "2.5",
            "currency": "USD",
            "has_required_carriers": False,
        },
        {
            "id": "TARGET",
            "denominations": [500, 50000],
            "denomination_type": "Variable",
            "delivery_types": ["Links"],
            "fee_minor": 25,
        },
        {"id": "NIKE", "denominations": [2500, 25000], "denomination_type": "VariableNoCents", "delivery_types": []},
        {
            "id": "GIFTBOX",
            "denominations": [5000],
            "denomination_type": "Fixed",
            "delivery_types": ["PhysicalShipment"],
            "has_required_carriers": True,
        },
    ],
    "shipping_methods": [{"id": "STANDARD", "carrier": "USPS", "description": "slow", "cost_minor": 595}],
    "carriers": [{"id": "DEFAULT", "name": "Plain"}],
}
CATALOGUE = parse_catalog(STORED)
MAPLE = {"id": "MAPLE", "denominations": [1000], "delivery_types": ["Links"], "currency": "cad"}
SEVERAL = parse_catalog({"products": [*STORED["products"], MAPLE]})
HEADER = "PONumber,Type,ProductId,Value,Quantity,ExternalId\n"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = connect(f"sqlite:///{tmp_path / 'tracking.db'}")
    yield opened
    opened.close()


def read(
    text: str | bytes, *, chunk: int = 1000, catalogue: Catalog | None = CATALOGUE, database: Database | None = None
) -> CheckedFile:
    data = text.encode() if isinstance(text, str) else text
    return uploads.read_csv(data, "wave.csv", catalog=catalogue, chunk=chunk, now=NOW, database=database)


def problems(checked: CheckedFile) -> list[str]:
    return [str(problem) for problem in checked.problems]


def submitted(database: Database, text: str, chunk: int = 1000) -> list[submissions.Receipt]:
    checked = read(text, database=database, chunk=chunk)
    return submit_file(database, checked, source="csv", by=ME, now=NOW)


def kept(database: Database) -> list[Any]:
    with database.read() as connection:
        tables = (ORDERS, LINES, EVENTS, OUTBOX, BATCHES)
        return [[tuple(row) for row in connection.execute(sa.select(table))] for table in tables]


def outcomes(database: Database) -> Any:
    """What came of each row of the one file that was imported."""
    with database.read() as connection:
        [batch_id] = connection.execute(sa.select(BATCHES.c.id)).scalars()
    return results.outcome_rows(database, batch_id)


def count(database: Database, table: sa.Table) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


# Reading a CSV


def test_rows_with_the_same_po_number_form_one_order_even_when_apart() -> None:
    checked = read(HEADER + "a,Links,CVS,10,1,x\nb,Links,CVS,25,2,y\na,Links,CVS,50,1,z\n")
    assert not checked.problems
    assert [(request.po_number, len(request.lines)) for request in checked.requests] == [("a", 2), ("b", 1)]
    assert checked.rows_of == {"a": (2, 4), "b": (3,)}
    assert (checked.rows, checked.units) == (3, 4)
    assert catalog.face_values(checked.requests, CATALOGUE) == {"USD": 11000}


def test_rows_without_a_po_number_form_orders_of_one_type_up_to_the_chunk() -> None:
    links = "".join(f",Links,CVS,10,1,{number}\n" for number in range(5))
    checked = read(f"{HEADER}{links},Codes,TARGET,10,1,last\n", chunk=2, catalogue=None)
    assert [(order.type, len(order.lines)) for order in checked.requests] == [
        *[("Links", 2), ("Links", 2), ("Links", 1)],
        ("Codes", 1),
    ]
    assert [order.po_number for order in checked.requests] == [
        f"CSV-{checked.digest[:10]}-000{n}" for n in (1, 2, 3, 4)
    ]


def test_rows_without_a_po_number_keep_their_notes_apart() -> None:
    checked = read("Type,Note,ProductId,Value,Quantity\nLinks,one,CVS,10,1\nLinks,two,CVS,10,1\nLinks,one,CVS,10,1\n")
    assert [(request.note, len(request.lines)) for request in checked.requests] == [("one", 2), ("two", 1)]


@pytest.mark.parametrize(
    "header",
    [
        "\ufefftype,productid,value,quantity,externalid",
        " Type , Product ID , VALUE ,  Quantity, external_id",
        "Type,ProductId,Value,Quantity,ExternalId,,",
    ],
)
def test_columns_are_known_in_any_case_with_stray_marks_and_spaces(header: str) -> None:
    checked = read(f"{header}\nLinks, CVS ,10, 2,row-1\n")
    assert not checked.problems
    [line] = checked.requests[0].lines
    assert (line.product_id, line.value_minor, line.quantity, line.external_id) == ("CVS", 1000, 2, "row-1")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_separate_too(mark: str) -> None:
    checked = read("Quantity,Value,ProductId,Type\r\n2,10,CVS,Links\r\n".replace(",", mark))
    assert not checked.problems
    assert catalog.face_values(checked.requests, CATALOGUE) == {"USD": 2000}


def test_a_decimal_comma_is_read_where_semicolons_separate() -> None:
    checked = read("Type;ProductId;Value;Quantity\nLinks;TARGET;12,50;1\n")
    assert catalog.face_values(checked.requests, CATALOGUE) == {"": 1250}


def test_an_address_and_a_greeting_go_where_the_provider_wants_them() -> None:
    header = "Type,ProductId,Value,Quantity,ShippingMethodId,CarrierId,Name,AddressLine1,City,State,Zip,Country"
    physical = read(
        f"{header}\nPhysicalShipment,GIFTBOX,50,1,STANDARD,DEFAULT,Ann Example,1 Main St,Springfield,il,01234,us\n"
    )
    assert not physical.problems
    [line] = physical.requests[0].document["LineItems"]
    assert line["PhysicalDeliveryAddress"]["Zip"] == "01234"
    digital = read(
        "Type,ProductId,Value,Quantity,Email,To,FromName,Message,DeliveryDate\n"
        'DigitalDelivery,CVS,10,1,ann@example.com,Ann,Ben,"Well done,\nAnn",2026-12-24\n'
    )
    assert not digital.problems
    [line] = digital.requests[0].document["LineItems"]
    assert line["DigitalDeliveryAddress"] == {"Email": "ann@example.com"}
    assert line["Personalization"]["Message"] == "Well done,\nAnn"


def test_blank_rows_are_passed_over_and_still_counted() -> None:
    assert problems(read(HEADER + "\n,,,,,\na,Links,CVS,11,1,x\n")) == [
        "row 4, Value: 11 is not a denomination of CVS; use 10, 25 or 50"
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \r\n", "the file is empty"),
        (b'"",""\n" "\n', "the file is empty"),
        (b"Type,ProductId,Value,Quantity\n", "a header and no rows"),
        (b"Type,ProductId,Value\nLinks,CVS,10\n", "row 1: the column Quantity must be there"),
        (b"Type,ProductId,Value,Quantity,Qantity\n", "row 1: there is no column 'Qantity'; did you mean Quantity?"),
        (b"Type,ProductId,Value,Quantity,type\n", "row 1: the column Type is there twice"),
        (b"PK\x03\x04workbook", "an Excel workbook"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not text"),
        ("Type,ProductId".encode("utf-16-le"), "not text"),
        (b'Type,ProductId,Value,Quantity\nLinks,"CVS,10,1\nLinks,CVS,10,1\n', "row 2: a quoted cell never ends"),
        (b'Type,ProductId,Value,Quantity\nLinks,"CVS"x,10,1\n', "row 2: not readable as CSV"),
        (b"%PDF-1.7", "a PDF"),
        (b"a" * 20_000_001, "20.0 MB; 20 MB are allowed: split it"),
        (b"Type,ProductId,Value,Quantity\n" + b"Links,CVS,10,1\n" * 50_001, "more than 50,000 rows"),
        (",".join(f"c{number}" for number in range(5001)).encode(), "row 1: has 5,001 columns"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, told: str) -> None:
    checked = read(data)
    assert told in problems(checked)[0]
    assert not checked.requests


def test_all_wrong_columns_are_told_at_once() -> None:
    checked = read("PO,Typ,ProductId,Cost\nx,Links,CVS,1\n")
    told = problems(checked)
    assert len(told) == 4
    assert told[-1] == "row 1: the columns Type, Value, Quantity must be there"
    grouped = {(group.text, group.places) for group in group_problems(checked.problems)}
    assert ("the columns Type, Value, Quantity must be there", "row 1") in grouped  # the place in one column alone


def test_a_character_that_is_not_utf8_is_found_by_its_row() -> None:
    text = b'PONumber,Type,ProductId,Value,Quantity,Note\na,Links,CVS,10,1,"two\nlines"\nb,Links,CVS,10,1,caf\xe9\n'
    [problem] = problems(read(text))
    assert problem.startswith("row 3: holds a character that is not UTF-8: save it again as UTF-8")


def test_a_row_with_more_cells_than_the_header_is_told_by_its_row() -> None:
    [problem] = problems(read(HEADER + "a,Links,CVS,10,1,x\nb,Links,CVS,10,1,x,y\n"))
    assert problem.startswith("row 3: has 7 cells, the header 6")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,Link,CVS,10,1,x", "row 2, Type: must be one of"),
        ("a,,CVS,10,1,x", "row 2, Type: is missing"),
        ("a,Links,,10,1,x", "row 2, ProductId: is missing"),
        ("a,Links,CVS,ten,1,x", "row 2, Value: must be an amount"),
        ("a,Links,CVS,-10,1,x", "row 2, Value: must be an amount"),
        ("a,Links,CVS,10,1.5,x", "row 2, Quantity: must be a whole number"),
        ("a,Links,CVS,10,0,x", "row 2, Quantity: must be a whole number"),
        ("a,Links,CSV,10,1,x", "row 2, ProductId: the provider sells no 'CSV'; did you mean CVS?"),
        ("a,Links,cvs,10,1,x", "row 2, ProductId: the provider sells no 'cvs'; did you mean CVS?"),
        ("a,Links,CVS,12.34,1,x", "row 2, Value: 12.34 is not a denomination of CVS; use 10, 25 or 50"),
        ("a,Links,TARGET,4.99,1,x", "row 2, Value: 4.99 is outside what TARGET comes in; use 5 to 500"),
        ("a,Links,NIKE,30.50,1,x", "row 2, Value: NIKE comes in whole amounts only; use 30 or 31"),
        ("a,Links,GIFTBOX,50,1,x", "row 2, ProductId: GIFTBOX is not offered as Links; use PhysicalShipment"),
        ("a,DigitalDelivery,CVS,10,1,x", "row 2, Email or Sms: is missing"),
        (f"{'p' * 101},Links,CVS,10,1,x", "row 2, PONumber: has 101 characters; at most 100"),
    ],
)
def test_a_wrong_cell_is_told_by_row_and_column(row: str, told: str) -> None:
    [problem] = problems(read(f"{HEADER}{row}\n"))
    assert problem.startswith(told)


def test_a_delivery_date_in_the_past_or_beyond_what_anybody_plans_is_refused() -> None:
    header = "Type,ProductId,Value,Quantity,Email,To,FromName,DeliveryDate"
    told = problems(read(f"{header}\nDigitalDelivery,CVS,10,1,a@example.com,Ann,Ben,2026-11-22\n"))
    assert told == ["row 2, DeliveryDate: 2026-11-22 lies in the past; leave it empty to deliver at once"]
    told = problems(read(f"{header}\nDigitalDelivery,CVS,10,1,a@example.com,Ann,Ben,2206-12-24\n"))
    assert told == ["row 2, DeliveryDate: 2206-12-24 lies more than 3 years ahead: check the year"]


def test_shipping_is_checked_against_what_the_provider_offers() -> None:
    header = "Type,ProductId,Value,Quantity,ShippingMethodId,Name,AddressLine1,City,State,Zip,Country"
    told = problems(read(f"{header}\nPhysicalShipment,GIFTBOX,50,1,DRONE,Ann,1 Main St,Springfield,IL,01234,US\n"))
    assert told == [
        "row 2, ShippingMethodId: the provider does not offer 'DRONE'; use STANDARD",
        "row 2, CarrierId: GIFTBOX needs one; use DEFAULT",
    ]


def test_rows_of_one_po_number_must_agree_on_type_and_note() -> None:
    text = "PONumber,Type,Note,ProductId,Value,Quantity\na,Links,one,CVS,10,1\na,,,CVS,10,1\na,Codes,two,CVS,10,1\n"
    assert problems(read(text)) == [
        "row 4, Type: 'Codes', but row 2 says 'Links' for the same PONumber",
        "row 4, Note: 'two', but row 2 says 'one' for the same PONumber",
    ]


def test_problems_come_by_row_and_end_after_two_hundred() -> None:
    rows = "".join(f"a{n},Links,CVS,{n}.01,1,\n" for n in range(300))
    told = problems(read(HEADER + "b,Links,CVS,10,1,x\n" + rows))
    assert told[0].startswith("row 3, Value")
    assert len(told) == 201
    assert told[-1] == "and 100 more problems"


def test_problems_that_are_alike_are_one_group_whatever_their_rows_and_values(store: Database) -> None:
    rows = "".join(f"a{n},Links,CVS,{n + 100}.01,1,\n" for n in range(300))
    checked = read(HEADER + "b,Link,CVS,10,1,x\n" + rows + "b,Link,CVS,ten,1,x\n")
    assert [str(group) for group in checked.groups] == [
        "300 rows: Value: 100.01 is not a denomination of CVS; use 10, 25 or 50 (rows 3 to 302, with other values)",
        "2 rows: Type must be one of DigitalDelivery, Links, PhysicalShipment, Codes (rows 2, 303)",
        "row 303, Value: must be an amount above 0 with at most two decimals, such as 10 or 12.50",
    ]
    assert checked.faults[303].startswith("Type must be one of")
    assert "; Value must be an amount" in checked.faults[303]
    preview = results.preview_rows(store, checked, 3)
    assert preview["row"].tolist() == [2, 3, 4]
    assert preview["status"].tolist() == ["Fix"] * 3
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1, "Personalization": {"To": "Ann"}}
    orders = json.dumps([{"Type": "Links", "PONumber": f"j{n}", "LineItems": [line] * 2} for n in range(3)])
    [group] = uploads.read_json(orders.encode(), "orders.json", catalog=CATALOGUE).groups
    where = [f"order {n}, LineItems[{m}].Personalization.FromName" for n, m in ((1, 0), (1, 1), (2, 0))]
    assert str(group) == f"6 places: FromName is missing: fill it in ({', '.join(where)} and 3 more)"


def test_without_a_catalogue_only_the_shape_is_checked() -> None:
    assert not read(HEADER + "a,Links,ANYTHING,12.34,1,x\n", catalogue=None).problems


def test_five_thousand_rows_become_orders_of_a_thousand_lines() -> None:
    text = HEADER + "".join(f",Links,CVS,10,1,row-{number}\n" for number in range(5000))
    checked = read(text)
    assert (len(checked.requests), checked.units, checked.problems) == (5, 5000, ())


@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(alphabet='a1,;\t"\r\n =.\x1b\u00e9', max_size=80).map(
            lambda text: b"Type,ProductId,Value,Quantity,PONumber\n" + text.encode()
        ),
        st.lists(st.sampled_from(["Links", "CVS", "10", "-1", "1e9", "", "x" * 300, '"', "\x00"]), max_size=12).map(
            lambda cells: b"Type,ProductId,Value,Quantity\n" + ",".join(cells).encode()
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_the_readers_raise(data: bytes) -> None:
    for checked in (read(data), read_json(data)):
        assert checked.problems or checked.requests


# Reading JSON


def request(po_number: str | None = "j-1", **line: object) -> dict[str, object]:
    named = {} if po_number is None else {"PONumber": po_number}
    return {**named, "Type": "Links", "LineItems": [{"ProductId": "CVS", "Value": 10, "Quantity": 1, **line}]}


def read_json(raw: object, database: Database | None = None) -> CheckedFile:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return uploads.read_json(data, "wave.json", catalog=CATALOGUE, database=database)


def test_json_holds_one_request_or_a_list_of_them() -> None:
    assert [each.po_number for each in read_json(request()).requests] == ["j-1"]
    assert [each.po_number for each in read_json([request("j-1"), request("j-2")]).requests] == ["j-1", "j-2"]


def test_json_requests_without_a_po_number_get_one_that_follows_from_the_bytes() -> None:
    first, again = read_json([request(None)]), read_json([request(None)])
    assert first.requests[0].po_number == again.requests[0].po_number == f"JSON-{first.digest[:10]}-0001"
    assert first.requests[0].document["PONumber"] == first.requests[0].po_number


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"{", "line 1, column 2: this is not JSON"),
        (b"\xff", "this is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"Type": NaN}', "NaN and Infinity are not JSON"),
        ([], "the list is empty"),
        ([request(), request()], "order 2, PONumber: j-1 is in this file twice"),
        ([request(), 7], "order 2: must be an object"),
        ([request("a"), request("b", Value=9)], "order 2, LineItems[0].Value: 9 is not a denomination of CVS"),
        (request(Value="x"), "LineItems[0].Value: must be an amount"),
        (b" " * 20_000_001, "20 MB are allowed"),
    ],
)
def test_json_that_cannot_be_sent_says_why(raw: object, told: str) -> None:
    checked = read_json(raw)
    assert any(problem.startswith(told) or told in problem for problem in problems(checked)), problems(checked)


# Submitting


def test_submitting_queues_every_order_and_remembers_the_file(database: Database) -> None:
    checked = read(HEADER + "a,Links,CVS,10,1,x\nb,Links,CVS,25,2,y\n", database=database)
    seen: list[tuple[int, int]] = []
    receipts = submit_file(
        database,
        checked,
        source="csv",
        by=ME,
        now=NOW,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [(receipt.po_number, receipt.outcome) for receipt in receipts] == [("a", "queued"), ("b", "queued")]
    assert seen == [(2, 2)]
    assert (count(database, ORDERS), count(database, LINES), count(database, OUTBOX)) == (2, 2, 2)
    with database.read() as connection:
        batch = connection.execute(sa.select(BATCHES)).mappings().one()
        assert (batch["name"], batch["rows"], batch["orders"], batch["actor"]) == ("wave.csv", 2, 2, "cli:me")
        assert set(connection.execute(sa.select(ORDERS.c.batch_id)).scalars()) == {batch["id"]}
        entry = connection.execute(sa.select(AUDIT_LOG)).mappings().one()
    assert (entry["kind"], entry["person"], entry["job_id"]) == ("imported", "cli:me", 1)
    assert entry["detail"] == {"import": batch["id"], "orders": 2}


def test_the_same_file_twice_is_noticed_and_orders_nothing_again(database: Database) -> None:
    text = HEADER + "".join(f",Links,CVS,10,1,{number}\n" for number in range(30)) + "own,Links,CVS,10,1,x\n"
    submitted(database, text, chunk=10)
    again = read(text, chunk=10, database=database)
    assert again.first_submitted_at == NOW
    assert not again.problems
    receipts = submit_file(database, again, source="csv", by=ME, now=NOW + timedelta(hours=1))
    assert {receipt.outcome for receipt in receipts} == {"exists"}
    assert (count(database, ORDERS), count(database, BATCHES), count(database, EVENTS)) == (4, 1, 4)


def test_the_same_file_split_otherwise_is_refused(database: Database) -> None:
    text = HEADER + "".join(f",Links,CVS,10,1,{number}\n" for number in range(30))
    submitted(database, text, chunk=20)
    again = read(text, chunk=10, database=database)
    assert "is already an order with other lines" in problems(again)[0]
    blind = read(text, chunk=10)
    with pytest.raises(InvalidSubmission, match="other lines"):
        submit_file(database, blind, source="csv", by=ME, now=NOW)
    assert count(database, ORDERS) == 2


def test_a_file_that_came_before_but_for_a_row_is_noticed(database: Database) -> None:
    rows = [f",Links,CVS,10,1,x{number}" for number in range(4)]
    first = read(HEADER + "\n".join(rows) + "\n", database=database)
    submit_file(database, first, source="csv", by=ANN, now=NOW)
    changed = read(HEADER + "\n".join([*rows[:3], ",Links,CVS,10,1,other"]) + "\n", database=database)
    assert changed.problems == ()
    assert (changed.first_submitted_at, changed.similar_file) == (None, uploads.SimilarFile(first.name, NOW, 3))


@pytest.mark.parametrize(
    "rows",
    [
        [",Links,CVS,10,1,y1", ",Links,CVS,10,1,y2"],  # the same but for the references
        [",Links,CVS,10,1,x0", ",Links,CVS,10,1,y1", ",Links,CVS,10,1,y2"],  # a third is the same
        ["n-0,Links,CVS,10,1,x0", "n-1,Links,CVS,10,1,x1"],  # somebody gave them PONumbers of their own
    ],
)
def test_a_file_with_other_rows_or_with_po_numbers_is_like_no_other(database: Database, rows: list[str]) -> None:
    first = read(HEADER + "".join(f",Links,CVS,10,1,x{number}\n" for number in range(4)), database=database)
    submit_file(database, first, source="csv", by=ANN, now=NOW)
    assert read(HEADER + "\n".join(rows) + "\n", database=database).similar_file is None


def test_a_po_number_that_is_taken_is_a_problem_of_another_file(database: Database) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    told = problems(read(HEADER + "b,Links,CVS,10,1,x\na,Links,CVS,10,1,x\n", database=database))
    assert told == ["row 3, PONumber: a is already an order (Queued); take it out, or give it another PONumber"]


def test_a_po_number_that_differs_in_case_alone_is_a_problem(database: Database) -> None:
    submitted(database, HEADER + "Wave-1,Links,CVS,10,1,x\n")
    rows = "wave-1,Links,CVS,10,1,x\nb-1,Links,CVS,10,1,x\nB-1,Links,CVS,25,1,x\n"
    taken, alike = sorted(problems(read(HEADER + rows, database=database)))
    assert taken.startswith("row 2, PONumber: wave-1 differs in case alone from Wave-1, which is an order (Queued)")
    assert alike.startswith("row 4, PONumber: is read like that of row 3")


def test_a_submission_that_broke_off_continues_where_it_stopped(database: Database) -> None:
    text = HEADER + "".join(f"po-{number},Links,CVS,10,1,x\n" for number in range(120))

    def break_off(done: int, _: int) -> None:
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt):
        submit_file(database, read(text), source="csv", by=ME, now=NOW, progress=break_off)
    assert count(database, ORDERS) == submissions.GROUP_ORDERS
    receipts = submitted(database, text)
    assert [receipt.outcome for receipt in receipts] == ["exists"] * 50 + ["queued"] * 70
    assert count(database, ORDERS) == count(database, OUTBOX) == 120


def test_nothing_is_written_while_there_is_a_problem(database: Database) -> None:
    with pytest.raises(InvalidSubmission, match="not a denomination"):
        submitted(database, HEADER + "a,Links,CVS,10,1,x\nb,Links,CVS,9,1,x\n")
    assert count(database, ORDERS) == count(database, BATCHES) == 0


def test_what_the_catalogue_learned_since_is_checked_again(database: Database) -> None:
    checked = read(HEADER + "a,Links,CVS,9,1,x\n", catalogue=None)
    database.write(lambda connection: facts.set_fact(connection, "catalogue", STORED, NOW))
    assert catalog.load_catalog(database) == CATALOGUE
    with pytest.raises(InvalidSubmission, match="9 is not a denomination"):
        submit_file(database, checked, source="csv", by=ME, now=NOW)


def test_requests_of_the_form_are_submitted_without_a_file(database: Database) -> None:
    wanted = read_json([request("f-1"), request("f-2")]).requests
    first = submissions.submit(database, wanted[:1], source="form", by=ANN, now=NOW)
    both = submissions.submit(database, wanted, source="form", by=ANN, now=NOW)
    assert [receipt.outcome for receipt in both] == ["exists", "queued"]
    assert both[0].order_id == first[0].order_id
    assert count(database, BATCHES) == 0
    assert submissions.submit(database, wanted, source="form", by=ANN, now=NOW)[1].outcome == "exists"
    assert entries(database) == [(each.order_id, {"source": "form", "orders": 1}) for each in (first[0], both[1])]


def entries(database: Database) -> list[tuple[int | None, dict[str, Any]]]:
    with database.read() as connection:
        query = sa.select(AUDIT_LOG.c.order_id, AUDIT_LOG.c.detail).order_by(AUDIT_LOG.c.seq)
        return [tuple(row) for row in connection.execute(query)]


def test_the_audit_log_counts_each_order_once_that_is_submitted_again_after_a_crash(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, write = read_json([request(f"f-{at}") for at in range(120)]).requests, Database.write
    written: list[Any] = []

    def breaks_off(self: Database, job: Any) -> Any:
        if written:
            raise KeyboardInterrupt
        written.append(job)
        return write(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            submissions.submit(database, wanted, source="json", by=ANN, now=NOW)
    assert [detail["orders"] for _, detail in entries(database)] == [count(database, ORDERS)] == [50]
    submissions.submit(database, wanted, source="json", by=ANN, now=NOW)
    assert [detail["orders"] for _, detail in entries(database)] == [50, 50, 20]


def test_other_lines_under_a_taken_po_number_are_rejected(database: Database) -> None:
    submissions.submit(database, read_json(request("f-1")).requests, source="form", by=ME, now=NOW)
    other = read_json(request("f-1", Quantity=2)).requests
    recorded = entries(database)
    [receipt] = submissions.submit(database, other, source="form", by=ME, now=NOW)
    assert receipt.outcome == "rejected"
    assert "already an order with other lines" in receipt.message
    assert entries(database) == recorded


@pytest.mark.parametrize("po_numbers", [[], [None], ["f-1", "f-1"], ["f-1", "F-1"]])
def test_a_list_that_cannot_be_sent_is_refused(database: Database, po_numbers: list[str | None]) -> None:
    wanted = [read_request(request(po_number)) for po_number in po_numbers]
    with pytest.raises(InvalidSubmission):
        submissions.submit(database, wanted, source="form", by=ME, now=NOW)
    assert count(database, ORDERS) == 0


def test_cells_that_look_like_formulas_are_kept_and_made_harmless_for_the_download(database: Database) -> None:
    checked = read_json(request("=1+1", ExternalId="@SUM(A1)"), database=database)
    submit_file(database, checked, source="json", by=ME, now=NOW)
    assert checked.requests[0].po_number == "=1+1"
    [row] = outcomes(database).to_dict("records")
    assert (row["po_number"], row["external_id"], row["state"]) == ("'=1+1", "'@SUM(A1)", "Queued")


def test_the_file_of_outcomes_opens_in_a_spreadsheet_with_its_letters_and_zeros(database: Database) -> None:
    submitted(database, HEADER + "M\u00fcller,Links,CVS,10,1,00123\n00077,Links,CVS,10,1,1-2\n")
    file = results.spreadsheet_file(outcomes(database))
    assert file.startswith(codecs.BOM_UTF8)
    rows = [row.split(",") for row in file.decode("utf-8-sig").splitlines()[1:]]
    assert [(row[1], row[5]) for row in rows] == [("M\u00fcller", "'00123"), ("'00077", "'1-2")]
    again = HEADER + "".join(f"{row[1]},Links,CVS,10,1,{row[5]}\n" for row in rows)
    assert [request.po_number for request in read(again).requests] == ["M\u00fcller", "00077"]


def test_the_outcome_lists_every_row_in_the_order_of_the_file(database: Database) -> None:
    checked = read(HEADER + "a,Links,CVS,10,1,x\nb,Links,CVS,25,1,y\na,Links,CVS,50,1,z\n")
    submit_file(database, checked, source="csv", by=ME, now=NOW)
    outcome = outcomes(database)
    assert list(outcome["row"]) == [2, 3, 4]
    assert list(outcome["external_id"]) == ["x", "y", "z"]
    assert list(outcome["value"]) == ["10.00", "25.00", "50.00"]


# What people do


def test_people_write_down_and_acknowledge_under_their_name(database: Database) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    actions.add_note(database, "a", by=ANN, now=NOW, text="  called\x00 them \n")
    actions.acknowledge(database, " a ", by=Person("ben"), now=NOW, why="known")
    with database.read() as connection:
        row = connection.execute(sa.select(ORDERS)).mappings().one()
        details = list(connection.execute(sa.select(EVENTS.c.detail).order_by(EVENTS.c.seq)).scalars())
    assert (row["acknowledged_by"], row["acknowledged_why"]) == ("ben", "known")
    assert details[1:] == [{"text": "called them", "actor": "ann"}, {"text": "known", "actor": "ben"}]


ACTS: dict[str, Callable[[Database, Person], object]] = {
    "submit": lambda database, by: submissions.submit(
        database, read_json(request("f-1")).requests, source="form", by=by, now=NOW
    ),
    "check_now": lambda database, by: actions.check_now(database, "a", by=by, now=NOW),
    "resend": lambda database, by: actions.resend(database, "a", by=by, now=NOW),
    "acknowledge": lambda database, by: actions.acknowledge(database, "a", by=by, now=NOW, why="known"),
    "add_note": lambda database, by: actions.add_note(database, "a", by=by, now=NOW, text="seen"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("by", [Person("vic@example.com", Access.VIEWER), Person(" ")])
def test_whoever_may_not_act_is_refused_before_anything_is_written(database: Database, act: str, by: Person) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    known = None if act == "resend" else "BLK-1"
    database.write(
        lambda connection: connection.execute(sa.update(ORDERS).values(provider_id=known, state=State.UNKNOWN))
    )
    before = kept(database)
    with pytest.raises(NotPermitted):
        ACTS[act](database, by)
    assert kept(database) == before
    ACTS[act](database, ANN)
    assert kept(database) != before, "an operator's act is written, so the refusal was not for another reason"


@pytest.mark.parametrize("text", ["", " \n", "x" * 501])
def test_empty_and_endless_texts_are_refused(database: Database, text: str) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    with pytest.raises(InvalidSubmission, match="Note"):
        actions.add_note(database, "a", by=ANN, now=NOW, text=text)
    assert count(database, EVENTS) == 1


def test_what_the_state_forbids_says_why(database: Database) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    with pytest.raises(NotAllowed, match="not given this order an ID yet"):
        actions.check_now(database, "a", by=ANN, now=NOW)
    with pytest.raises(NotAllowed, match="unconfirmed or refused"):
        actions.resend(database, "a", by=ANN, now=NOW)
    with pytest.raises(UnknownOrder, match="'nobody'"):
        actions.check_now(database, "nobody", by=ANN, now=NOW)


def test_orders_are_found_by_the_providers_id_too(database: Database) -> None:
    submitted(database, HEADER + "a,Links,CVS,10,1,x\n")
    database.write(
        lambda connection: connection.execute(sa.update(ORDERS).values(provider_id="BLK-1", state="Pending"))
    )
    actions.check_now(database, "BLK-1", by=ANN, now=NOW)
    with database.read() as connection:
        assert connection.execute(sa.select(ORDERS.c.next_look_at)).scalar_one() == NOW


def test_new_po_numbers_carry_the_day_and_differ() -> None:
    rng = random.Random(7)
    made = {submissions.new_po_number(NOW, rng) for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("FT-20261123-") and len(each) == 18 for each in made)


def test_the_cost_is_the_value_less_discount_plus_fee() -> None:
    assert CATALOGUE.products["CVS"].cost_minor(1000) == 975
    assert CATALOGUE.products["TARGET"].cost_minor(1000) == 1025


def test_a_quote_adds_up_all_lines_whose_products_are_offered() -> None:
    rows = "A,Links,CVS,10,2,\nB,Links,TARGET,10,1,\n"
    requests = read(HEADER + rows).requests
    assert CATALOGUE.quote(requests) == {"USD": 2 * 975, "": 1025}
    assert Catalog({}).quote(requests) == {}


def test_amounts_of_several_currencies_are_added_up_each_for_itself() -> None:
    [request] = read(
        HEADER + "A,Links,CVS,10,2,\nA,Links,MAPLE,10,1,\nA,Links,TARGET,10,1,\n", catalogue=SEVERAL
    ).requests
    assert catalog.face_values([request], SEVERAL) == {"USD": 2000, "CAD": 1000, "": 1000}
    assert SEVERAL.quote([request]) == {"USD": 2 * 975, "CAD": 1000, "": 1025}
    assert catalog.face_values([request], None) == {"": 4000}
    assert (parse_catalog({"products": [MAPLE]}).only_currency, SEVERAL.only_currency, Catalog({}).only_currency) == (
        "CAD",
        "",
        "",
    )


def test_an_order_of_two_currencies_is_stored_as_that_and_never_as_one_sum(database: Database) -> None:
    several = STORED | {"products": [*STORED["products"], MAPLE]}
    database.write(lambda connection: facts.set_fact(connection, "catalogue", several, NOW))
    rows = "a,Links,CVS,25,1,\na,Links,MAPLE,10,1,\nb,Links,CVS,25,1,\nc,Links,TARGET,5,1,\n"
    requests = read(HEADER + rows, catalogue=SEVERAL).requests
    submissions.submit(database, requests, source="form", by=ANN, now=NOW)
    with database.read() as connection:
        orders = connection.execute(sa.select(ORDERS.c.po_number, ORDERS.c.currency)).all()
    assert [tuple(row) for row in orders] == [("a", "CAD+USD"), ("b", "USD"), ("c", None)]
    said = {entry["po_number"]: entry["text"] for entry in activity.events(database)}
    assert said["a"].endswith("submitted 2 cards by form, 10.00 CAD and 25.00 USD")
    assert said["b"].endswith("submitted 1 card by form, 25.00 USD")
    assert said["c"].endswith("submitted 1 card by form, 5.00 (currency unknown)")
    assert verify.verify(database) == []
