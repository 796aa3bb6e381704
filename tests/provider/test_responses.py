import base64
import contextlib
import json
import re
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracking.errors import UnreadableAnswer
from tracking.provider.json_fields import charset_of, digest_of, parse
from tracking.provider.masking import mask_json, mask_recipient
from tracking.provider.responses import (
    ListPage,
    ParsedOrder,
    item_key,
    read_balance,
    read_carrier,
    read_duplicate_ids,
    read_each,
    read_funds,
    read_list_page,
    read_order,
    read_problems,
    read_product,
    read_shipping_method,
    read_token,
)
from tracking.provider.scalars.amounts import minor_of
from tracking.provider.scalars.times import parse_time
from tracking.provider.webhook_bodies import read_webhook_call

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER: dict[str, Any] = {
    "Id": "BLK-000000001",
    "Timestamp": "2026-01-02T03:04:05",
    "Status": "Completed",
    "Type": "Links",
    "PONumber": "demo-0001",
    "Note": "wave 1",
    "WebhookSettings": {"FulfillmentComplete": "https://hooks.example/SECRET-PATH"},
    "LineItems": [
        {
            "Id": "LI-1",
            "Status": "Completed",
            "ProductId": "CVS",
            "Value": 10,
            "Quantity": 1,
            "Cost": 9.75,
            "ExternalId": "row-1",
            "ClaimData": [
                {"Id": "CD-1", "ClaimLink": "https://claim.example/v/TOKEN", "ClaimLinkChallengeAnswer": "ABC123"}
            ],
        }
    ],
}
NAMES = ["Id", "id", "Status", "Type", "PONumber", "LineItems", "ProductId", "Value", "Quantity", "ClaimData", "Codes"]
NAMES += ["Data", "Errors", "Property", "DigitalDeliveryAddress", "PhysicalDeliveryAddress", "Email", "Timestamp"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(max_size=8),
            inner,
            max_size=8,
        )
    ),
    max_leaves=20,
)
BOMBS = [
    b"[" * 1_000_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 100 + b"]" * 100,
    b"9" * 1_000_000,
    b'{"Id":"a","Id":"b"}',
    b"\xff\xfe\x00",
    json.dumps(ORDER).encode()[:-30],
    b"[]",
    b"null",
    b"",
    b"<html><body>Bad gateway</body></html>",
    b'{"Id": NaN}',
    b'{"Value": Infinity}',
    b'"text"',
]


def line(**fields: Any) -> dict[str, Any]:
    return {"ProductId": "CVS", "Value": 10, "Quantity": 1, "Status": "Pending"} | fields


def order(*lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ORDER | {"LineItems": list(lines)} | fields


def recased(raw: Any, change: Callable[[str], str]) -> Any:
    if isinstance(raw, dict):
        return {change(name): recased(value, change) for name, value in raw.items()}
    return [recased(value, change) for value in raw] if isinstance(raw, list) else raw


def read_answer(body: bytes) -> ParsedOrder:
    return read_order(parse(body))


# Answers


@pytest.mark.parametrize("change", [str, str.lower, str.upper, lambda name: name[:1].lower() + name[1:]])
def test_an_order_reads_the_same_in_any_case_of_names(change: Callable[[str], str]) -> None:
    assert read_order(recased(ORDER, change)).snapshot == read_order(ORDER).snapshot


def test_an_amount_that_is_rounded_is_noted_and_no_other() -> None:
    notes: set[str] = set()
    lines = [
        {"ProductId": "CVS", "Value": value, "Quantity": 1, "Cost": cost}
        for value, cost in (("1.505", 1.5), (10, "9.750"), (12.5, 1.005))
    ]
    read = read_order(ORDER | {"CurrencyCode": "KWD", "LineItems": lines}, notes).snapshot
    assert [(line.value_minor, line.cost_minor) for line in read.lines] == [(151, 150), (1000, 975), (1250, 101)]
    what = "has more than two decimals, and is stored as rounded to hundredths"
    assert notes == {f"LineItems[].{name} {what}" for name in ("Value", "Cost")}


def test_an_amount_that_is_rounded_is_noted_wherever_it_stands() -> None:
    notes: set[str] = set()
    read_balance({"Available": 10.005, "Pending": "1.50"}, notes)
    product = {"Id": "DINAR", "Denominations": [1.505, 10], "Cost": {"Fee": 0.125}, "CurrencyCode": "KWD"}
    read_each([product], read_product, notes)
    read_each([{"Id": "AIR", "Cost": "2.505"}], read_shipping_method, notes)
    what = "has more than two decimals, and is stored as rounded to hundredths"
    assert notes == {
        *(f"{name} {what}" for name in ("Available", "Data[].Cost", "Data[].Cost.Fee")),
        f"Data[].Denominations holds what {what}",
    }


def test_an_order_shows_its_lines_in_minor_units_and_the_providers_order() -> None:
    shown = read_order(order(line(Id="a", Cost="9.755"), line(Id="b", Value="12.50", Quantity="3"))).snapshot
    assert [(entry.number, entry.provider_line_id) for entry in shown.lines] == [(1, "a"), (2, "b")]
    assert (shown.lines[0].cost_minor, shown.lines[1].value_minor, shown.lines[1].quantity) == (976, 1250, 3)
    assert (shown.provider_id, shown.po_number, shown.created_at) == ("BLK-000000001", "demo-0001", NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.0000000Z",
        "2026-01-02T03:04:05.0",
        "2026-01-02 08:34:05+05:30",
        "2026-01-01T22:04:05-05:00",
        "01/02/2026 03:04:05 AM",
    ],
)
def test_timestamps_in_every_form_are_one_moment_in_utc(text: str) -> None:
    assert parse_time(text) == NOW
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("value", [None, 5, "", "yesterday", "0001-01-01T00:00:00+14:00", "13/13/2026 03:04:05 AM"])
def test_an_unreadable_timestamp_leaves_the_order_readable(value: Any) -> None:
    assert read_order(ORDER | {"Timestamp": value}).snapshot.created_at is None


def test_known_status_words_get_their_usual_case_and_unknown_ones_stay() -> None:
    shown = read_order(order(line(Status="senttofulfillment"), line(Status="Lost"), Status="pENDING")).snapshot
    assert shown.status == "Pending"
    assert [entry.status for entry in shown.lines] == ["SentToFulfillment", "Lost"]
    strange = read_order(ORDER | {"Status": "OnHold " + "x" * 500}).snapshot.status
    assert strange.startswith("OnHold")
    assert len(strange) == 60


@pytest.mark.parametrize(
    ("claims", "count"),
    [
        (None, 0),
        ([], 0),
        ([None, {}, {"Id": "CD-1"}, {"ClaimLink": None}], 0),
        ([{"claimLink": "https://c.example/1"}, {"Id": "CD-2"}], 1),
        ([{"BarcodeChars": "123"}, {"Codes": [{"Label": "PIN", "Value": "1"}]}, {"Codes": []}], 2),
        ([{"Codes": [{"Label": "PIN", "Value": None}]}], 0),
    ],
)
def test_claims_count_the_entries_that_hold_something(claims: Any, count: int) -> None:
    entry = read_order(order(line(ClaimData=claims))).snapshot.lines[0]
    assert entry.claims == count
    assert (entry.claim_digest is None) == (count == 0)


def test_the_claim_digest_knows_the_contents_and_not_their_order() -> None:
    one, two = {"ClaimLink": "https://c.example/1"}, {"ClaimLink": "https://c.example/2"}

    def digest(*claims: Any) -> str | None:
        return read_order(order(line(ClaimData=list(claims)))).snapshot.lines[0].claim_digest

    assert digest(one, two) == digest(two, one) == digest(two, {"Id": "empty"}, one)
    assert digest(one, two) != digest(one, one)


def test_claim_data_comes_apart_by_line_and_unit_with_its_labels() -> None:
    link = {"Id": "CD-1", "ClaimLink": "https://c.example/1", "ClaimLinkChallengeAnswer": "ABC"}
    codes = {
        "BarcodeChars": 123,
        "barcodeType": "CODE128",
        "BarcodePath": "https://c.example/1.png",
        "Codes": [{"Label": "PIN", "Value": "1"}, {"Value": "2"}, "3", {"Label": "Empty"}, None],
    }
    shown = read_order(order(line(), line(ClaimData=[codes, {"Id": "empty"}, link])))
    assert set(shown.claims) == {2}
    assert shown.claims[2].units == (
        (
            ("Barcode characters", "123"),
            ("Barcode type", "CODE128"),
            ("Barcode picture", "https://c.example/1.png"),
            ("PIN", "1"),
            ("Code", "2"),
            ("Code", "3"),
        ),
        (("Claim link", "https://c.example/1"), ("Challenge answer", "ABC")),
    )
    assert "c.example" not in f"{shown!r} {shown.claims}"


@pytest.mark.parametrize("value", ["\ud800", {"a": ["b"]}, 5.5, "x\x00y", True])
def test_claim_data_of_any_kind_becomes_a_text_that_can_be_kept_and_shown(value: Any) -> None:
    [unit] = read_order(order(line(ClaimData={"ClaimLink": value}))).claims[1].units
    unit[0][1].encode()
    assert "\x00" not in unit[0][1]


def test_the_recipient_is_the_email_else_the_sms_else_the_name() -> None:
    digital = {"Email": "a@example.com", "Sms": "+15550100"}
    lines = [
        line(DigitalDeliveryAddress=digital),
        line(DigitalDeliveryAddress={"Email": None, "Sms": "+15550100"}),
        line(PhysicalDeliveryAddress={"Name": "Ann"}, DigitalDeliveryAddress=None),
        line(),
    ]
    found = [entry.recipient for entry in read_order(order(*lines)).snapshot.lines]
    assert found == ["a@example.com", "+15550100", "Ann", None]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b'"one\ntwo\tthree"', "one\ntwo\tthree"),
        ("\u201cGr\u00fc\u00dfe\u201d".encode("cp1252").join([b'"', b'"']), "\u201cGr\u00fc\u00dfe\u201d"),
    ],
)
def test_an_answer_is_read_in_the_charset_it_names_and_with_line_breaks_in_its_texts(body: bytes, note: str) -> None:
    rest = {name: value for name, value in ORDER.items() if name != "Note"}
    whole = json.dumps(rest).encode()[:-1] + b', "Note": ' + body + b"}\n\x00"
    assert read_order(parse(whole, charset_of('application/json; Charset="Windows-1252"'))).snapshot.note == note
    assert parse('{"Note": "\u00fc"}'.encode(), "latin-1") == {"Note": "\u00fc"}


def test_a_po_number_of_which_letters_were_lost_leaves_the_order_readable() -> None:
    assert read_order(ORDER | {"PONumber": "M\ufffdller-1"}).snapshot.po_number == "M\ufffdller-1"


@pytest.mark.parametrize("change", [str, str.lower, str.upper])
def test_the_kept_document_holds_no_claim_data_and_no_webhook_address(change: Callable[[str], str]) -> None:
    raw = deepcopy(ORDER) | {"Extra": {"Deep": [{"ClaimData": [{"ClaimLink": "https://claim.example/v/TOKEN"}]}]}}
    kept = json.dumps(read_order(recased(raw, change)).document)
    assert "TOKEN" not in kept
    assert "ABC123" not in kept
    assert "SECRET-PATH" not in kept
    assert "extra" in kept.casefold()


def test_the_digest_is_that_of_the_item_whatever_the_order_of_its_names() -> None:
    turned = dict(reversed(ORDER.items()))
    assert read_order(ORDER).digest == digest_of(turned)
    assert digest_of(ORDER) != digest_of(ORDER | {"Status": "Pending"})


def test_further_fields_null_cost_and_missing_lines_are_tolerated() -> None:
    shown = read_order(order(line(Cost=None, ExternalId=""), Tracking={"Number": 5}) | {"Note": None})
    assert shown.snapshot.lines[0].cost_minor is None
    assert shown.snapshot.lines[0].external_id is None
    assert shown.document["Tracking"] == {"Number": 5}
    assert read_order(ORDER | {"LineItems": None}).snapshot.lines == ()


def test_what_no_database_takes_is_replaced() -> None:
    shown = read_order(ORDER | {"Note": "a\x00b", "Extra": "\ud800"})
    assert shown.snapshot.note == "a\ufffdb"
    assert shown.document["Extra"] == "\ufffd"


@pytest.mark.parametrize(
    "change",
    [
        {"Id": None},
        {"Id": {"x": 1}},
        {"Id": True},
        {"Id": float("nan")},
        {"Id": "x" * 300},
        {"Id": "BLK-\ufffd"},
        {"Status": ""},
        {"Status": ["Completed"]},
        {"PONumber": ["demo-0001"]},
        {"PONumber": {}},
        {"id": "twice"},
        {"ponumber": "twice"},
    ],
)
def test_what_is_no_order_is_unreadable_and_the_message_repeats_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        read_order(ORDER | change)
    assert str(caught.value).split()[0] in {"Id", "Status", "PONumber"}
    assert not any(word in str(caught.value) for word in ("demo-0001", "Completed", "xxx"))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ({}, "LineItems is not a list but an object"),
        ("?", "LineItems is not a list but a text"),
        ([None], "LineItems[0] is not an object but null"),
        ([line(Value="ten")], "LineItems[0].Value is not a number"),
        ([line(Value=float("nan"))], "LineItems[0].Value is not a number"),
        ([line(Value=10**40)], "LineItems[0].Value is too large"),
        ([line(Value="1,000")], "LineItems[0].Value is not a number"),
        ([line(Value="1,00,000.00")], "LineItems[0].Value is not a number"),
        ([line(), line(Quantity=1.5)], "LineItems[1].Quantity is not a whole number"),
        ([line(Quantity=-1)], "LineItems[0].Quantity is not a whole number"),
        ([line(Quantity=True)], "LineItems[0].Quantity is not a number but true or false"),
        ([line(ProductId=None)], "LineItems[0].ProductId is missing"),
        ([line(productid="other")], "LineItems[0].ProductId stands there twice"),
    ],
)
def test_lines_that_cannot_be_read_leave_the_order_and_its_status_readable(lines: Any, why: str) -> None:
    notes: set[str] = set()
    now = read_order(ORDER | {"LineItems": lines}, notes).snapshot
    assert (now.provider_id, now.status, now.unreadable) == ("BLK-000000001", "Completed", why)
    assert notes == {re.sub(r"\d", "", why)}


WRONG: tuple[Any, ...] = (
    *(True, False, {}, {"Code": {"Deep": []}}, [], [[1]], float("nan"), float("inf"), -1, 10**900),
    *("", "\ud800", "x" * 100_000, "\x00", 1764426000.5, 0),
)
OPTIONAL = ("Timestamp", "Type", "Note", "Personalization", "WebhookSettings", "CurrencyCode", "Currency", "Further")
OPTIONAL_OF_LINE = (
    *("Id", "Status", "ClaimData", "Cost", "ExternalId", "Culture", "DigitalDeliveryAddress"),
    *("PhysicalDeliveryAddress", "Personalization", "Further"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:20])
def test_no_field_that_nobody_needs_blocks_an_order_whatever_it_holds(wrong: Any) -> None:
    def sent(raw: Any) -> ParsedOrder:
        return read_answer(json.dumps(raw).encode())

    for name in OPTIONAL:
        now = sent(ORDER | {name: wrong}).snapshot
        assert (now.status, now.unreadable, len(now.lines)) == ("Completed", None, 1), name
        json.dumps(sent(ORDER | {name: wrong}).document, allow_nan=False)
    for name in OPTIONAL_OF_LINE:
        now = sent(order(line(Status="Completed") | {name: wrong})).snapshot
        assert (now.unreadable, now.lines[0].product_id, now.lines[0].value_minor) == (None, "CVS", 1000), name


def test_what_is_wrong_with_a_field_is_noted_once_without_what_it_holds() -> None:
    notes: set[str] = set()
    wrong = line(Cost="secret", ClaimData=["https://claim.example/secret"], DigitalDeliveryAddress=["ann@example.com"])
    read_order(order(wrong, wrong, CurrencyCode={"Code": "secret"}, Note=[], Timestamp="secret"), notes)
    assert notes == {
        "CurrencyCode is not a text but an object",
        "Note is not a text but a list",
        "Timestamp is not a time",
        "LineItems[].Cost is not a number",
        "LineItems[].ClaimData holds no object but a text",
        "LineItems[].DigitalDeliveryAddress is not an object but a list",
    }
    for name in range(200):
        read_order(ORDER | {"Note": [], "LineItems": [line(Cost={})]} | {f"Further{name}": {}}, notes)
    assert len(notes) <= 50


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"Note": "a", "Note": "b"}', None),
        (b'{"Note": "a", "note": "b"}', None),
        (b'{"Note": "a", "Note": "a"}', "a"),
        (b'{"Note": 5.0}', "5"),
        (b'{"Note": 5.25}', "5.25"),
        (b'{"Note": NaN}', None),
        (b'{"Note": 1e999}', None),
        (b'{"Note": "\xe9t\xe9"}', "\ufffdt\ufffd"),
        ('{"Note": "\u00e9"}'.encode("utf-16"), "\u00e9"),
    ],
)
def test_a_field_that_stands_there_twice_or_is_written_oddly_is_read_when_certain(body: bytes, value: Any) -> None:
    whole = json.dumps({"Id": "BLK-1", "Status": "Pending"})[1:]
    mixed = body[:1] + whole.encode()[:-1] + b", " + body[1:] if not body.startswith(b"\xff") else body
    if body.startswith(b"\xff"):
        mixed = ("{" + whole[:-1] + ", " + body.decode("utf-16")[1:]).encode("utf-16")
    assert read_order(parse(mixed)).snapshot.note == value


@pytest.mark.parametrize(
    "value",
    [
        *(1767323045, 1767323045.0, "1767323045", 1767323045000, "1767323045000", "/Date(1767323045000)/"),
        *(
            1767323045000.0,
            1767323045000000,
            "1767323045000000000",
            "/Date(1767323045000+0100)/",
            "2026-01-02 03:04:05 UTC",
        ),
        *("Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 2 Jan 2026 04:04:05 +0100", "Fri Jan  2 03:04:05 UTC 2026"),
        *(
            "Fri Jan 02 2026 05:04:05 GMT+0200",
            "Fri Jan 02 2026 05:04:05 GMT+0200 (EET)",
            "Thu Jan  1 22:04:05 EST 2026",
        ),
        *("1/2/2026, 3:04:05\u202fAM", "01/02/2026 03:04:05 a.m.", "01/02/2026 03:04:05 AM UTC"),
        *("Jan  2, 2026 3:04:05 AM", "Jan 2, 2026, 3:04:05 AM", "02.01.2026 03:04:05", "2026/01/02 03:04:05"),
        *("2026-01-02T04:04:05+01:00[Europe/Berlin]", "2026-01-02T03:04:05z", "2026-01-02T03:04:05UTC"),
        "\u200e2026-01-02T03:04:05Z",
    ],
)
def test_a_creation_time_is_read_in_further_forms(value: Any) -> None:
    assert read_order(ORDER | {"Timestamp": value}).snapshot.created_at == NOW


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00", "9999-12-31T23:59:59Z", 5, 1e300, 17673230450001])
def test_a_time_that_nobody_can_mean_is_none(value: Any) -> None:
    assert read_order(ORDER | {"Timestamp": value}).snapshot.created_at is None


@pytest.mark.parametrize(
    "text",
    [
        *("Fri 2 Jan 15:04:05 CET 2026", "2026-01-02T03:04:05 CET", "2 janvier 2026 03:04:05"),
        *(
            "2026-01-02T03:04:05 PM",
            "13 Jan 2026 13:04:05 PM",
            "01/02/26 03:04:05 PM",
            "2026-01-02T03:04:05.000Z+01:00",
        ),
    ],
)
def test_a_time_whose_zone_or_half_of_the_day_would_be_passed_over_is_none(text: str) -> None:
    notes: set[str] = set()
    assert read_order(ORDER | {"Timestamp": text}, notes).snapshot.created_at is None
    assert notes == {"Timestamp is not a time"}


def test_the_afternoon_is_not_taken_for_the_morning() -> None:
    for text in ("Jan  2, 2026 3:04:05 PM", "Jan 2 2026  3:04:05 PM", "1/2/2026, 3:04:05 p.m."):
        assert read_order(ORDER | {"Timestamp": text}).snapshot.created_at == NOW + timedelta(hours=12)


def test_the_first_contact_that_can_be_read_is_the_recipient() -> None:
    address = {"Email": ["ann@example.com"], "Sms": "+15550100"}
    assert read_order(order(line(DigitalDeliveryAddress=address))).snapshot.lines[0].recipient == "+15550100"


def test_one_odd_entry_does_not_hide_the_other_ids_of_a_conflict() -> None:
    assert read_duplicate_ids({"PreviousOrderIds": [{}, "B-1", 7, None]}) == ["B-1", "7"]


def test_the_fields_of_a_list_a_token_and_a_balance_block_nothing() -> None:
    notes: set[str] = set()
    page = read_list_page({"Data": [1], "Page": {}, "PageSize": "many", "TotalCount": [2]}, notes)
    assert page == ListPage([1], None, None, None)
    assert read_token({"Value": "opaque", "ExpiresIn": {}}, NOW, notes).expires_at == NOW + timedelta(minutes=5)
    assert read_balance({"Available": 5, "Pending": {"Amount": 1}}, notes)["available_minor"] == 500
    assert notes == {
        "Page is not a number but an object",
        "PageSize is not a number",
        "TotalCount is not a number but a list",
        "ExpiresIn is not a number but an object",
        "Pending is not a number but an object",
    }


def test_a_product_is_sold_whatever_is_wrong_with_the_rest_of_its_entry() -> None:
    notes: set[str] = set()
    odd: dict[str, Any] = {
        "Id": "CVS",
        "Name": ["CVS"],
        "Type": {},
        "Denominations": [10, "?"],
        "Cost": {"Fee": [], "DiscountPercentage": "?"},
    }
    odd |= {
        "DenominationType": "Range",
        "CurrencyCode": 5.5,
        "Meta": {"ShippingConfiguration": {"HasRequiredCardCarriers": 1}},
    }
    [product] = read_each([odd], read_product, notes)
    assert (product["id"], product["name"], product["denominations"]) == ("CVS", "CVS", [])
    assert (product["fee_minor"], product["discount_percent"], product["has_required_carriers"]) == (0, "0", True)
    assert {
        "Data[].DenominationType is a word that is not known",
        "Data[].CurrencyCode is no code of a currency",
    } <= notes
    assert product["currency"] is None
    assert read_each([odd | {"DenominationType": "variable"}], read_product, notes)[0]["denominations"] == []
    assert "Data[].Denominations holds what is not a number" in notes
    [method] = read_each([{"Id": "STANDARD", "Cost": {}, "Carrier": []}], read_shipping_method, notes)
    assert (method["carrier"], method["cost_minor"]) == (None, None)


@pytest.mark.parametrize("body", BOMBS)
def test_a_hostile_answer_is_unreadable_and_nothing_else(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        read_answer(body)


@given(JSON_VALUES)
@settings(max_examples=150, deadline=None)
def test_arbitrary_json_never_raises_anything_undocumented(raw: Any) -> None:
    for read in (
        read_order,
        read_list_page,
        read_balance,
        digest_of,
        item_key,
        lambda raw: read_token(raw, NOW),
    ):
        try:
            read(raw)
        except UnreadableAnswer:
            continue
    items = raw if isinstance(raw, list) else [raw]
    for read_item in (read_product, read_shipping_method, read_carrier):
        read_each(items, read_item)
    read_duplicate_ids(raw)
    read_funds(raw)
    read_problems(raw)
    assert len(mask_json(raw, 50)) <= 50


@given(st.binary(max_size=300) | JSON_VALUES.map(lambda raw: json.dumps(raw).encode()))
@example(b"\xef\xbb\xbf{}")
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_never_raise_anything_undocumented(body: bytes) -> None:
    with contextlib.suppress(UnreadableAnswer):
        read_answer(body)
    read_webhook_call(body)
    read_webhook_call(body, "application/json; charset=utf-7", "gzip")


def test_an_order_too_deep_for_the_interpreter_is_unreadable() -> None:
    raw: Any = {}
    for _ in range(100_000):
        raw = {"a": raw}
    with pytest.raises(UnreadableAnswer):
        read_order(raw)
    del raw


@pytest.mark.parametrize("raw", [{}, [], None, {"Data": {}}, {"Data": "x"}, {"Items": []}])
def test_a_list_without_its_envelope_is_unreadable(raw: Any) -> None:
    with pytest.raises(UnreadableAnswer):
        read_list_page(raw)


def test_a_page_needs_neither_its_number_nor_a_total() -> None:
    assert read_list_page({"data": [1]}) == ListPage([1], None, None, None)
    full = read_list_page({"Data": None, "Page": "2", "PageSize": 50, "TotalCount": 70})
    assert full == ListPage((), 2, 50, 70)


def jwt(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.x"


@pytest.mark.parametrize(
    ("raw", "life"),
    [
        ({"Value": jwt(exp=NOW.timestamp() + 900), "ExpiresIn": 60}, timedelta(minutes=15)),
        ({"Value": "opaque", "ExpiresIn": 3600}, timedelta(hours=1)),
        ({"value": "opaque", "expiresIn": "60"}, timedelta(minutes=1)),
        ({"Value": "opaque", "ExpiresIn": 0}, timedelta(minutes=5)),
        ({"Value": "opaque", "ExpiresIn": -5}, timedelta(minutes=5)),
        ({"Value": "opaque"}, timedelta(minutes=5)),
        ({"Value": "opaque", "ExpiresIn": 10**12}, timedelta(days=1)),
        ({"Value": jwt(exp=1), "ExpiresIn": None}, timedelta(minutes=5)),
        ({"Value": "a.!!!.c", "ExpiresIn": "soon"}, timedelta(minutes=5)),
    ],
)
def test_a_token_lives_as_long_as_it_says_or_five_minutes(raw: Any, life: timedelta) -> None:
    assert read_token(raw, NOW).expires_at == NOW + life


@pytest.mark.parametrize("value", [None, 5, "", "two words", "line\nbreak", "\u00e9"])
def test_a_token_that_fits_no_header_is_unreadable(value: Any) -> None:
    with pytest.raises(UnreadableAnswer):
        read_token({"Value": value}, NOW)


def test_a_token_does_not_show_itself() -> None:
    assert "opaque" not in repr(read_token({"Value": "opaque"}, NOW))


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        ({"PONumber": "p", "PreviousOrderIds": ["B-1", "B-2", "B-1"]}, ["B-1", "B-2"]),
        ({"previousOrderIds": "B-1"}, ["B-1"]),
        ({"OrderId": "B-1"}, ["B-1"]),
        ({"Id": "B-1"}, ["B-1"]),
        ({"PreviousOrderIds": []}, []),
        ({"PreviousOrderIds": [{}]}, []),
        ("<html>", []),
        (None, []),
    ],
)
def test_a_conflict_names_its_orders_under_any_of_its_keys(raw: Any, ids: list[str]) -> None:
    assert read_duplicate_ids(raw) == ids


def test_the_funds_are_minor_units_or_none() -> None:
    assert read_funds({"AvailableBalance": "1000.10", "OrderCost": 1200}) == (100010, 120000)
    assert read_funds({"OrderCost": "?"}) == read_funds([]) == (None, None)


def test_problems_are_the_providers_words_with_recipients_masked() -> None:
    raw = {
        "Errors": [
            {"Property": "LineItems[0].Value", "Errors": ["not a denomination", "see https://x.example/SECRET"]},
            {
                "Property": "LineItems[0].DigitalDeliveryAddress.Email",
                "Errors": ["ann@example.com is blocked, 01512345678"],
            },
        ]
    }
    found = [str(problem) for problem in read_problems(raw)]
    assert found[0] == "LineItems[0].Value: not a denomination"
    assert not any("ann@" in text or "SECRET" in text or "0151234" in text for text in found)
    assert str(read_problems({"errors": {"Value": ["no"]}})[0]) == "Value: no"
    assert read_problems("<html>") == read_problems({"Errors": 5}) == []


def test_the_catalogue_reads_products_and_leaves_out_what_is_none() -> None:
    raw = {
        "Id": "CVS",
        "Name": "CVS",
        "Type": "digital",
        "Denominations": ["10", 25.5],
        "DenominationType": "fixed",
        "AvailableDeliveryTypes": ["links", "Digital Delivery", "New"],
        "Cost": {"Fee": 0.35, "DiscountPercentage": "2.50"},
        "CurrencyCode": "USD",
        "Meta": {"ShippingConfiguration": {"HasRequiredCardCarriers": True}},
    }
    (product,) = read_each([raw, None, {"Name": "no id"}], read_product)
    assert product == {
        "id": "CVS",
        "name": "CVS",
        "type": "Digital",
        "denominations": [1000, 2550],
        "denomination_type": "Fixed",
        "delivery_types": ["Links", "DigitalDelivery", "New"],
        "fee_minor": 35,
        "discount_percent": "2.50",
        "currency": "USD",
        "has_required_carriers": True,
    }
    assert read_each([{"Id": "BARE"}], read_product)[0]["denominations"] == []


def test_shipping_methods_carriers_and_the_balance_are_plain_dicts() -> None:
    method = {"id": "STANDARD", "carrier": None, "description": "Mail", "cost_minor": 150}
    assert read_each([{"Id": "STANDARD", "Description": "Mail", "Cost": "1.5"}], read_shipping_method) == [method]
    assert read_each([{"id": "DEFAULT"}], read_carrier) == [{"id": "DEFAULT", "name": "DEFAULT"}]
    balance = {"available_minor": 1250, "pending_minor": None, "offered": True}
    assert read_balance({"available": 12.5}) == balance


# Masks


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("john@example.com", "j***@example.com"),
        ("+15550189", "+1***89"),
        ("John Smith", "J***"),
        ("12", "1***"),
        ("", "***"),
    ],
)
def test_a_recipient_is_masked(text: str, shown: str) -> None:
    assert mask_recipient(text) == shown


def test_masked_json_shows_the_order_and_hides_people_money_and_secrets() -> None:
    raw = deepcopy(ORDER) | {
        "Token": "t0ken",
        "Message": "Bearer eyJhbGciOi.abcdef.ghi for john@example.com at https://x.example/SECRET or +1 555 010 0189",
        "RecipientEmail": "john@example.com",
    }
    raw["LineItems"][0]["PhysicalDeliveryAddress"] = {
        "Name": "John Smith",
        "AddressLine1": "1 Main St",
        "ShippingMethodId": "STANDARD",
        "Zip": 62701,
    }
    raw["LineItems"][0]["Personalization"] = {"To": "John", "Message": "Happy birthday"}
    text = mask_json(recased(raw, str.lower), 10_000)
    for hidden in (
        "john@",
        "Smith",
        "Main St",
        "62701",
        "birthday",
        "TOKEN",
        "ABC123",
        "SECRET",
        "t0ken",
        "abcdef",
        "0189",
    ):
        assert hidden not in text
    for told in ("BLK-000000001", "demo-0001", "2026-01-02T03:04:05", "CVS", "STANDARD", "j***@example.com"):
        assert told in text


def test_masked_json_is_cut_and_shows_long_lists_in_part() -> None:
    assert len(mask_json([{"a": "x" * 100}] * 50, 4000)) <= 4000
    assert "30 more" in mask_json(list(range(50)), 4000)
    assert mask_json({"a": 1}, 5) == '{"a"…'


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("10,00", 1000),
        ("$10.00", 1000),
        ("10.00 USD", 1000),
        ("EUR 1.000,50", 100_050),
        ("1 000,5", 100_050),
        ("-$1,234.50", -123_450),
        ("0.125 USD", 13),
        ("1234.500 USD", 123_450),
        *[(text, 1000) for text in ("US$10.00", "CA$ 10", "usd 10", "10.00\u00a0\u20ac", "\uffe510", "kr. 10,00")],
        *[(text, 1000) for text in ("R$ 10,00", "10,00 z\u0142", "\uff11\uff10.00", "10.", "010.0", "10 INR")],
        *[(text, 100_000) for text in ("1'000.00", "1\u2019000", "1 000.00", "1\u202f000,00 \u20ac", "CHF 1'000,00")],
        (".5", 50),
        ("\u221210.00", -1000),
    ],
)
def test_an_amount_as_people_write_it_is_read_where_it_can_mean_one_number_alone(written: str, minor: int) -> None:
    assert minor_of(written) == minor


@pytest.mark.parametrize(
    "written", ["1,000", "1.000 EUR", "$1.000", "10 pcs", "10 k", "1 00", "10%", "12 EUR" + " " * 60 + "and more"]
)
def test_an_amount_that_can_mean_several_numbers_or_goes_on_is_none(written: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        minor_of(written)
