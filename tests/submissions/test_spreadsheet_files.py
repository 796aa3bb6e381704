"""Files as spreadsheets of several countries save them, and what they break: all found at once, by row and column."""

import codecs
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tracking.access import Person
from tracking.storage.database import Database, connect
from tracking.submissions import files
from tracking.submissions.catalog import EMPTY, NOT_CHECKED, Catalog, parse_catalog
from tracking.submissions.files import CheckedFile
from tracking.team.imports.handing_in import submit_file

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CATALOG = parse_catalog(
    {
        "products": [
            {"id": "AMAZON", "denominations": [1, 10**9], "denomination_type": "Variable"},
            {"id": "CARD", "denominations": [1, 10**9], "denomination_type": "Variable"},
        ]
    }
)
HEADER = "PONumber,Type,ProductId,Value,Quantity,Email\n"
ROW = "{},DigitalDelivery,AMAZON,10,1,ann@example.com\n"
POSTAL = "Type,ProductId,Value,Quantity,ShippingMethodId,Name,AddressLine1,City,State,Zip,Country\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = connect(f"sqlite:///{tmp_path / 'tracking.db'}")
    yield opened
    opened.close()


def read(text: str | bytes, *, catalog: Catalog | None = CATALOG, database: Database | None = None) -> CheckedFile:
    data = text if isinstance(text, bytes) else text.encode()
    return files.read_csv(data, "wave.csv", catalog=catalog, chunk=1000, now=NOW, database=database)


def problems(text: str | bytes) -> list[str]:
    return [str(problem) for problem in read(text).problems]


def values(*cells: str, mark: str = ";") -> CheckedFile:
    """A file with these cells in Value, which marks part."""
    rows = (("Type", "ProductId", "Value", "Quantity"), *(("Links", "AMAZON", cell, "1") for cell in cells))
    return read("".join(mark.join(row) + "\n" for row in rows))


def po_numbers(*texts: str) -> list[str]:
    return problems(HEADER + "".join(ROW.format(text) for text in texts))


# Amounts


@pytest.mark.parametrize(
    ("cell", "minor"),
    [
        ("1.000,50", 100050),
        ("1.234.567", 123456700),
        ("1 000,50", 100050),
        ("1\u00a0000,50", 100050),
        ("1\u202f000", 100000),
        ("1'000.50", 100050),
        ("12,50", 1250),
        ("0,50", 50),
        ("1234,5", 123450),
        ("12.50", 1250),
        ("10.0", 1000),
        ("0010", 1000),
        (" 10 ", 1000),
    ],
)
@pytest.mark.parametrize("mark", [";", "\t"])
def test_an_amount_that_can_be_read_in_one_way_only_is_read(cell: str, minor: int, mark: str) -> None:
    checked = values(cell, mark=mark)
    assert not checked.problems
    assert [request.value_minor for request in checked.requests] == [minor]


@pytest.mark.parametrize(("cell", "minor"), [('"1,000.50"', 100050), ('"12,50"', 1250), ('"1,234,567.89"', 123456789)])
def test_an_amount_in_quotes_is_read_where_commas_part_the_cells(cell: str, minor: int) -> None:
    assert [request.value_minor for request in values(cell, mark=",").requests] == [minor]


@pytest.mark.parametrize(
    ("cell", "question"),
    [
        ("1.000", "is not clear, 1000 or 1: write it without marks between thousands"),
        ("1,000", "is not clear, 1000 or 1: "),
        ("12.500", "is not clear, 12500 or 12.5: "),
        ("999,125", "is not clear, 999125 or 999.125: "),
        ("1E+03", "was shortened by a spreadsheet"),
        ("1,5E3", "was shortened by a spreadsheet"),
        ("$10.00", "holds a currency"),
        ("10,00 €", "holds a currency"),
        ("EUR 10", "holds a currency"),
        ("10 kr", "holds a currency"),
        ("kr 10", "holds a currency"),
        ("10 usd", "holds a currency"),
        ("10 K\u010d", "holds a currency"),
        ("1.00.000", "must be an amount"),
        ("1,00,000.00", "must be an amount"),
        ("10-", "must be an amount"),
        ("(10.00)", "must be an amount"),
        ("=B2*C2", "is a formula"),
        ("#N/A", "is a spreadsheet's error"),
        ("#BEZUG!", "is a spreadsheet's error"),
        ("####", "is a spreadsheet's error"),
        ("Err:502", "is a spreadsheet's error"),
        ("1\u200b0", "a character that nobody sees, ZERO WIDTH SPACE (U+200B), in place 2"),
    ],
)
def test_an_amount_that_two_readers_read_differently_is_asked_about(cell: str, question: str) -> None:
    [problem] = values(cell).problems
    assert problem.where == "row 2, Value"
    assert question in problem.message


def test_the_rows_beside_an_unclear_amount_are_read_and_each_unclear_one_is_named() -> None:
    checked = values("12,50", "1.000", "1.000", "1.000", "2.000")
    assert [problem.where for problem in checked.problems] == ["rows 3 to 5, Value", "row 6, Value"]


@pytest.mark.parametrize("cell", ["1.000", "1,000", "1E+03"])
def test_a_quantity_is_asked_about_as_an_amount_is(cell: str) -> None:
    [problem] = read(f"Type;ProductId;Value;Quantity\nLinks;AMAZON;10;{cell}\n").problems
    assert problem.where == "row 2, Quantity"


# PONumbers and other identifiers


@pytest.mark.parametrize(
    "text",
    [
        *("1.23457E+17", '"1,23457E+17"', "1E+15", "1e-05"),
        *("12345.0", "12345.00", '"12345,0"', '"1,234,567"'),
        *(
            "Mar-24",
            "24-Mar",
            "3-Mrz",
            "03. Mrz",
            "05. Okt",
            "02-janv",
            "Mai 24",
            "3/24/2026",
            "24.12.2026",
            "2-Jan-26",
        ),
        *("2026-03-24 00:00:00", "A\u20111"),
        *("#N/A", "#REF!", "#NV", "=A1", "=CONCAT(A1;B1)", "nan", "NULL", "None"),
        *("A\u200b1", "A-1\u200b", "\ufeffA-1", "A\u00a01", "A\u00ad1", "\u202eA-1", "A\u2060-1", "A\ufffd1"),
        "123456789012345000",
        *("1.23E17", "1.23457 E+17", "1.23457x10^17", '"1,2E5"', "1.234.567", "1'234'567", '"12,34,567"'),
        *(
            "#\u00a1REF!",
            "#\u00bfNOMBRE?",
            "#VALORE!",
            "#WAARDE!",
            "#ADR!",
            "#N/B",
            "#\u0421\u0421\u042b\u041b\u041a\u0410!",
        ),
        *("(blank)", "(leer)", "[object Object]", "\\N", "nil", "ditto", "TRUE", "FALSCH"),
    ],
)
def test_a_po_number_that_a_spreadsheet_can_have_altered_is_refused(text: str) -> None:
    assert [problem.split(":")[0] for problem in po_numbers(text)] == ["row 2, PONumber"]


@pytest.mark.parametrize(
    "text",
    [
        "00123",
        "123456700000000001",
        "A-1",
        "1E5",
        "2026-001",
        "2026-11-23",
        "12.345",
        "MAR24",
        "Nantes",
        "GC 7",
        "März-Aktion",
    ],
)
def test_a_po_number_that_shows_no_such_sign_is_taken(text: str) -> None:
    assert po_numbers(text) == []


def test_a_zero_among_other_po_numbers_is_a_reference_to_an_empty_cell() -> None:
    [problem] = po_numbers("A-1", "0", "A-2", "0")
    assert problem.startswith("rows 3, 5, PONumber: is zero, as a spreadsheet makes of a reference to an empty cell")
    assert po_numbers("0", "1", "2") == []


def test_po_numbers_that_one_exponent_stands_for_are_named_row_by_row() -> None:
    [problem] = po_numbers("1.23457E+17", "A-1", "1.23457E+17")
    assert problem.startswith("rows 2, 4, PONumber: was shortened by a spreadsheet")
    assert "formatted as text" in problem


@pytest.mark.parametrize(
    "texts",
    [
        ("A-1", "A-1\u200b"),
        ("A-1", "a-1"),
        ("A-1", "A\u20131"),
        ("A-1", "\uff21-1"),
        ("A-1", "\u0410-1"),
        ("A1", "A 1"),
        ("00123", "123"),
    ],
)
def test_po_numbers_that_look_alike_are_asked_about(texts: tuple[str, str]) -> None:
    assert [problem for problem in po_numbers(*texts) if problem.startswith("row 3, PONumber: ")]


def test_a_column_of_long_numbers_is_taken_where_one_shows_its_last_digits() -> None:
    assert po_numbers("1234567890123450", "1234567890123457") == []
    [problem] = po_numbers("1234567890123450", "9234567890123450")
    assert problem.startswith("rows 2, 3, PONumber: has zeros from the sixteenth digit on")


def test_zeros_that_some_rows_lost_are_asked_about() -> None:
    [problem] = po_numbers("00123", "00124", "125")
    assert problem.startswith("row 4, PONumber: has fewer digits than those with zeros in front")
    assert po_numbers("1", "2", "10", "100") == []


@pytest.mark.parametrize(
    ("first", "second"), [("00123", "123"), ("123", "0123"), ("A-1", "A\u20131"), ("a-1", "A\u20131")]
)
def test_another_spelling_of_a_po_number_that_is_taken_is_not_ordered_again(
    store: Database, first: str, second: str
) -> None:
    checked = read(HEADER + ROW.format(first), database=store)
    submit_file(store, checked, source="csv", by=Person("ann"), now=NOW)
    [problem] = read(HEADER + ROW.format(second), database=store).problems
    assert str(problem).startswith(f"row 2, PONumber: {second} is another spelling of the order {first} (Queued)")
    assert not read(HEADER + ROW.format(f"{second}0"), database=store).problems


def test_a_po_number_in_other_case_is_taken_too(store: Database) -> None:
    submit_file(store, read(HEADER + ROW.format("A-1"), database=store), source="csv", by=Person("ann"), now=NOW)
    [problem] = read(HEADER + ROW.format("a-1"), database=store).problems
    assert str(problem).startswith("row 2, PONumber: a-1 differs in case alone from A-1, which is an order (Queued)")


def test_a_po_number_merged_over_its_rows_is_asked_about() -> None:
    rows = "A-1,Links,AMAZON,10,1,\n,Links,AMAZON,25,1,\n,Links,AMAZON,25,1,\nA-2,Links,AMAZON,25,1,\n"
    [problem] = problems(HEADER + rows)
    assert problem.startswith("rows 3, 4, PONumber: is empty below rows that have one: merged cells")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("ExternalId", "1.2E+15"),
        ("ExternalId", "77.0"),
        ("ExternalId", "3-Mar"),
        ("ExternalId", "A\u200b"),
        ("ProductId", "AMAZON\u00ad"),
    ],
)
def test_other_identifiers_are_looked_at_too(column: str, cell: str) -> None:
    row = {"ProductId": "AMAZON", "ExternalId": "x"} | {column: cell}
    text = f"Type,ProductId,Value,Quantity,ExternalId\nLinks,{row['ProductId']},10,1,{row['ExternalId']}\n"
    assert [problem.where for problem in read(text).problems] == [f"row 2, {column}"]


def test_marks_that_keep_an_identifier_a_text_are_no_part_of_it() -> None:
    checked = read(HEADER + ROW.format('"=""00123"""') + ROW.format("'00124") + ROW.format("'=1"))
    assert [request.po_number for request in checked.requests[:2]] == ["00123", "00124"]
    assert [problem.where for problem in checked.problems] == ["row 4, PONumber"]


# The file as such


@pytest.mark.parametrize(
    "data",
    [
        (HEADER + ROW.format("M\u00fcller")).encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + (HEADER + ROW.format("M\u00fcller")).replace(",", "\t").encode("utf-16-le"),
        codecs.BOM_UTF16_BE + (HEADER + ROW.format("M\u00fcller")).encode("utf-16-be"),
        b"sep=;\r\n" + (HEADER + ROW.format("M\u00fcller")).replace(",", ";").replace("\n", "\r\n").encode(),
        (HEADER + ROW.format("M\u00fcller") + ",,,,,\n,,,,,\n").encode(),
        (HEADER.replace("\n", ",,\n") + ROW.format("M\u00fcller").replace("\n", ",,\n")).encode(),
        (HEADER + ROW.format("M\u00fcller")).replace("\n", "\r").encode(),
    ],
    ids=["mark", "utf-16", "utf-16-be", "sep", "empty-rows", "empty-columns", "old-mac"],
)
def test_what_spreadsheets_save_is_read(data: bytes) -> None:
    checked = read(data)
    assert [str(problem) for problem in checked.problems] == []
    assert [request.po_number for request in checked.requests] == ["M\u00fcller"]
    assert checked.rows_of == {"M\u00fcller": (2,)}


def test_rows_in_another_encoding_are_named_beside_all_else() -> None:
    rows = f"{ROW}{ROW}{ROW}".format("M\u00fcller", "A-2", "B\u00e4r").replace("A-2,DigitalDelivery", "A-2,Digital")
    told = problems((HEADER + rows).encode("cp1252"))
    assert [problem.split(":")[0] for problem in told] == ["rows 2, 4", "row 3, Type"]
    assert "CSV UTF-8" in told[0]


@pytest.mark.parametrize(
    "name", ["M\u00c3\u00bcller", "Ren\u00c3\u00a9", "Ann\u00e2\u20ac\u2122s", "M&uuml;ller", "Ann &#38; Ben"]
)
def test_letters_read_in_the_wrong_encoding_are_asked_about(name: str) -> None:
    told = problems(
        "Type,ProductId,Value,Quantity,Email,To,FromName\n" + f"DigitalDelivery,AMAZON,10,1,a@example.com,{name},Ben\n"
    )
    assert [problem.split(":")[0] for problem in told] == ["row 2, To"]


@pytest.mark.parametrize(
    "name",
    [
        "M\u00fcller",
        "Ann & Ben; Carl",
        "Ren\u00e9",
        "CAF\u00c9\u2026",
        "\u041d\u0438\u043a\u0430",
        "Ng\u0169",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
    ],
)
def test_letters_of_any_language_stay(name: str) -> None:
    assert (
        problems(
            f"Type,ProductId,Value,Quantity,Email,To,FromName\nDigitalDelivery,AMAZON,10,1,a@example.com,{name},Ben\n"
        )
        == []
    )


@pytest.mark.parametrize(
    "header", ["P.O. Number", "po number", "PO\u00a0NUMBER", "\ufeffPO_Number", "PO\u200bNumber", "\uff30\uff2fNumber"]
)
def test_a_column_is_known_in_any_spelling_of_its_name(header: str) -> None:
    checked = read(HEADER.replace("PONumber", header).encode() + ROW.format("A-1").encode())
    assert [request.po_number for request in checked.requests] == ["A-1"]


def test_a_misspelt_column_does_not_hide_what_is_wrong_in_the_rows() -> None:
    text = "PONumber,Type,ProductId,Amount,Qantity,Email\nA-1,DigitalDelivery,NOPE,1.000,1,ann\nA-2,Links,AMAZON,5,1,\n"
    checked = read(text)
    assert [str(problem).split(": ")[0] for problem in checked.problems] == [
        *("row 1", "row 1", "row 1"),
        *("row 2, Value", "row 2, Email", "row 2, ProductId"),
    ]
    assert "did you mean Value?" in checked.problems[0].message
    assert not checked.requests


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_title_above_the_header_is_found_and_the_rows_are_read(mark: str) -> None:
    text = (HEADER + ROW.format("A-1") + "A-2,Links,NOPE,10,1,\n").replace(",", mark)
    assert [problem.split(":")[0] for problem in problems("Orders of March\n\n" + text)] == [
        "row 1",
        "row 5, ProductId",
    ]


def test_a_file_without_a_header_repeats_no_recipient() -> None:
    told = problems(ROW.format("A-1"))
    words = "the first row must name them, such as Type, ProductId, Value, Quantity, Email"
    assert told == [f"row 1: names no column that is known: {words}"]


def test_columns_that_all_lie_in_one_cell_are_told_as_such() -> None:
    assert problems('"Type,ProductId,Value,Quantity"\n"Links,AMAZON,10,1"\n')[0].startswith(
        "row 1: all columns lie in one cell"
    )


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ("A-1,Links,AMAZON,12,50,1,\nA-2,Links,AMAZON,5,1,\n", "row 2", "look for a comma too many"),
        ("A-1,Links,AMAZON,12,50,1,x\n", "row 2", "has 7 cells, the header 6"),
        ("A-1,Links,AMAZON,5,1,\nA-2,Links,AMAZON,5", "row 3", "was it cut off?"),
        (HEADER + "A-1,Links,AMAZON,5,1,\n", "row 2", "repeats the header"),
        ("\ufeff" + HEADER + "A-1,Links,AMAZON,5,1,\n", "row 2", "repeats the header"),
        ('A-1,Links,AMAZON,5,1,\nA-2,Links,AMAZON,"5,1,\n', "row 3", "a quoted cell never ends"),
        (
            'A-1,Links,"AMAZON,5,1,\nA-2,Links,AMAZON,5,1,\nA-3,Links",AMAZON,5,1,\n',
            "row 2",
            "holds whole rows in one cell",
        ),
    ],
)
def test_a_row_of_another_shape_is_found(rows: str, place: str, words: str) -> None:
    assert [
        str(problem).startswith(f"{place}: ") and words in problem.message for problem in read(HEADER + rows).problems
    ] == [True]


def test_what_comes_before_a_quotation_mark_too_many_is_judged_all_the_same() -> None:
    checked = read(HEADER + 'A-1,Links,NOPE,5,1,\nA-2,Links,AMAZON,"5,1,\n')
    assert [str(problem).split(":")[0] for problem in checked.problems] == ["row 2, ProductId", "row 3"]
    assert not checked.requests


def test_all_that_is_wrong_is_found_at_once_and_each_kind_names_its_rows() -> None:
    rows = [
        "A-1,DigitalDelivery,NOPE,10,1,ann@example",
        "A-1,DigitalDelivery,AMAZON,1.000,1,ann@example.com",
        "A-1,DigitalDelivery,NOPE,10,0,ann@example.com",
        "1E+15,DigitalDelivery,AMAZON,10,1,ann@example.com;ben@example.com",
        ",DigitalDelivery,AMAZON,10,1,ann@example.com",
    ]
    assert [problem.split(": ")[0] for problem in problems(HEADER + "\n".join(rows) + "\n")] == [
        "row 2, Email",
        "rows 2, 4, ProductId",
        "row 3, Value",
        "row 4, Quantity",
        "row 5, PONumber",
        "row 5, Email",
        "row 6, PONumber",
    ]


# Cards by post


@pytest.mark.parametrize(
    "text", ["1234", "2.14E+08", "1234.0", "0", "123456", "00000", "ABCDE", "O1234", "#N/A", "0123\u200b4"]
)
def test_a_zip_code_that_a_spreadsheet_altered_is_found(text: str) -> None:
    row = f"PhysicalShipment,CARD,25,1,STANDARD,Ann,1 Main Street,Springfield,MA,{text},US\n"
    assert [problem.split(":")[0] for problem in problems(POSTAL + row)] == ["row 2, Zip"]


@pytest.mark.parametrize(
    ("state", "text", "country"),
    [
        ("MA", "01234", "US"),
        ("MA", "01234-0001", "us"),
        ("PR", "00601", "US"),
        ("QC", "H0H 0H0", "CA"),
        ("SN", "01067", "DE"),
        ("XX", "SW1A 1AA", "GB"),
    ],
)
def test_a_postal_code_as_the_country_writes_it_is_taken(state: str, text: str, country: str) -> None:
    row = f"PhysicalShipment,CARD,25,1,STANDARD,Ann,1 Main Street,Springfield,{state},{text},{country}\n"
    assert problems(POSTAL + row) == []


# The catalogue


def test_without_a_catalogue_the_file_says_that_it_was_not_held_against_one() -> None:
    assert read(HEADER + ROW.format("A-1"), catalog=None).unchecked == (NOT_CHECKED,)
    assert read(HEADER + ROW.format("A-1")).unchecked == ()


def test_what_the_catalogue_says_in_words_that_nobody_knows_refuses_nothing() -> None:
    def told(**product: Any) -> list[str]:
        catalog = parse_catalog({"products": [{"id": "AMAZON", **product}] if product else []})
        checked = read(HEADER + ROW.format("A-1"), catalog=catalog)
        return [str(problem) for problem in checked.problems] or list(checked.unchecked)

    assert told(delivery_types=["Links"], denominations=[1000])[0].startswith("row 2, ProductId: AMAZON is not offered")
    assert told(delivery_types=["Links", "Print"], denominations=[1000]) == []
    assert told(denominations=[500_000, 100], denomination_type="Variable") == []
    assert told() == [EMPTY]


def test_what_the_catalogue_does_not_name_is_said_to_be_unchecked() -> None:
    row = "PhysicalShipment,CARD,25,1,STANDARD,Ann,1 Main Street,Springfield,MA,01234,US\n"
    checked = read(POSTAL + row, catalog=parse_catalog({"products": [{"id": "CARD"}]}))
    assert not checked.problems
    assert [text.split(",")[0] for text in checked.unchecked] == [
        "the catalogue names no amounts of CARD",
        "the catalogue names no shipping methods",
    ]


def test_a_product_that_is_not_sold_is_found_beside_a_recipient_that_cannot_be() -> None:
    told = problems(HEADER + "A-1,DigitalDelivery,NOPE,10,1,ann\n")
    assert [problem.split(":")[0] for problem in told] == ["row 2, Email", "row 2, ProductId"]
