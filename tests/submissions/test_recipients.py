"""Recipients that nobody can be are refused wherever they come from: a form, a program's JSON, a file."""

from typing import Any

import pytest

from tracking.errors import InvalidSubmission
from tracking.submissions.requests import read_request

POSTAL = {
    "ShippingMethodId": "STANDARD",
    "Name": "Ann Example",
    "AddressLine1": "1 Main Street",
    "City": "Springfield",
    "State": "MA",
    "Zip": "01234",
    "Country": "US",
}


def problems(kind: str, **line: Any) -> dict[str, str]:
    """What is wrong with an order of one such line, by its field."""
    item = {"ProductId": "CVS", "Value": 10, "Quantity": 1} | line
    try:
        read_request({"Type": kind, "PONumber": "A-1", "LineItems": [item]})
    except InvalidSubmission as exc:
        return {problem.where.rpartition(".")[2]: problem.message for problem in exc.problems}
    return {}


def by_mail(text: str) -> dict[str, str]:
    return problems("DigitalDelivery", DigitalDeliveryAddress={"Email": text})


def by_telephone(text: str) -> dict[str, str]:
    return problems("DigitalDelivery", DigitalDeliveryAddress={"Sms": text})


def by_post(**fields: Any) -> dict[str, str]:
    return problems("PhysicalShipment", PhysicalDeliveryAddress=POSTAL | fields)


@pytest.mark.parametrize(
    "text",
    [
        *("ann@example.com;", "ann@example.com,", "a@example.com; b@example.com", "a@example.com b@example.com"),
        *("<ann@example.com>", "Ann <ann@example.com>", '"Ann" ann@example.com', "mailto:ann@example.com"),
        *("ann@example,com", "ann@example..com", "ann@.com", "ann@example.com.", "ann@example", "ann.example.com"),
        *(".ann@example.com", "ann.@example.com", "a..nn@example.com", "@example.com", "ann@", "ann@@example.com"),
        *("an n@example.com", "ann@exam ple.com", "ann @example.com", "\u200bann@example.com", "ann\u00a0@example.com"),
        *("J\ufffdrg@example.com", "n/a@n/a", "#N/A", "'ann@example.com", "ann@-example.com", "ann@example-.com"),
        *("ann@127.0.0.1", "ann@[127.0.0.1]", "ann@example.c", "ann@example.123", "ann@exa_mple.com"),
        *("ann(at)example.com", "ann\uff20example.com", "ann@example\u3002com", f"{'a' * 65}@example.com"),
        f"ann@{'a' * 64}.com",
        *("j?rg@example.com", "b***@example.com", "ben@example.local", "ben@host.localdomain", "ben@example.lan"),
        *("ben@\u0435xample.com", "ben@example.c\u043em", "b\u0435n@example.com", "ben@ex\u03b1mple.com"),
    ],
)
def test_an_address_that_nobody_can_have_is_refused(text: str) -> None:
    found = by_mail(text)
    assert list(found) == ["Email"]
    assert "ann" not in found["Email"]
    greeting = {"To": "Ann", "FromName": "Ben", "FromEmail": text}
    assert list(problems("Links", Personalization=greeting)) == ["FromEmail"]


@pytest.mark.parametrize(
    "text",
    [
        *("ann@example.com", "ann+gift@example.com", "o'brien@example.com", "ann@m\u00fcnchen.example", "a@b.co"),
        *("ANN.B_c-d@Mail.Example.COM", "j\u00fcrg@example.com", "ju\u0308rg@example.com", "1@example.museum"),
        *(
            "ann@xn--mnchen-3ya.example",
            "\u0905\u0928\u094d\u0928@example.com",
            "ann@\u4f8b.\u7f51",
            "ann@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
            "#!$%&*/=?^`{|}~@x.org",
        ),
    ],
)
def test_an_address_that_somebody_can_have_is_taken(text: str) -> None:
    assert by_mail(text) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ann@example.com; ben@example.com", "each recipient into a row of their own"),
        ("Ann <ann@example.com>", "without a name, brackets or mailto:"),
        ("ann@example", "such as name@example.com"),
        ("ann@example.con", "ends in .con, as no address does; did you mean .com?"),
    ],
)
def test_what_to_do_about_an_address_is_said(text: str, words: str) -> None:
    assert words in by_mail(text)["Email"]


@pytest.mark.parametrize(
    "text",
    [
        *("(((((", "-----", "12345", "0000000", "11111111", "1.55501E+10", "15550100123.0", "+1 5550100123 45678"),
        *("555-CARDS", "5550100 x12", "+1\u00a0555 0100123", "++15550100", "1+5550100", "555  -  - 0100"),
    ],
)
def test_a_telephone_number_that_nobody_can_have_is_refused(text: str) -> None:
    assert list(by_telephone(text)) == ["Sms"]


@pytest.mark.parametrize(
    "text",
    ["+15550100", "555-0100", "(555) 010-0123", "+1 (555) 010.0123", "0049 30 123456", "030/123456", "+44(0)20 7946"],
)
def test_a_telephone_number_as_people_write_it_is_taken(text: str) -> None:
    assert by_telephone(text) == {}


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"Zip": "1234"}, "Zip", "five digits, such as 01234"),
        ({"Zip": 1234}, "Zip", "five digits, such as 01234"),
        ({"Zip": "1234-0001"}, "Zip", "five digits"),
        ({"Zip": "2.14E+08"}, "Zip", "taken for a number by a spreadsheet"),
        ({"Zip": "1234.0"}, "Zip", "taken for a number by a spreadsheet"),
        ({"Zip": "00000"}, "Zip", "five digits"),
        ({"Zip": "1067", "Country": "DE", "State": "SN"}, "Zip", "five digits in DE"),
        ({"Zip": "800", "Country": "AU", "State": "NT"}, "Zip", "four digits in AU"),
        ({"Zip": "12345", "Country": "CA", "State": "ON"}, "Zip", "Canada"),
        ({"Zip": "1", "Country": "ZA", "State": "GP"}, "Zip", "four digits in ZA"),
        ({"Zip": "1001", "Country": "UA", "State": "KV"}, "Zip", "five digits in UA"),
        ({"Zip": "18956", "Country": "SG", "State": "SG"}, "Zip", "six digits in SG"),
        ({"Zip": "600001", "Country": "JP", "State": "HK"}, "Zip", "seven digits in JP"),
        ({"Zip": "1310-100", "Country": "BR", "State": "SP"}, "Zip", "eight digits in BR"),
        ({"Zip": "1-001", "Country": "PL", "State": "MZ"}, "Zip", "five digits in PL"),
        ({"State": "XX"}, "State", "not the code of a state of US, such as MA"),
        ({"State": "Massachusetts"}, "State", "two letters, such as MA"),
        ({"State": "TX", "Country": "CA", "Zip": "K1A 0B1"}, "State", "not the code of a state of CA, such as ON"),
        ({"Country": "UK", "State": "LN", "Zip": "N1 9GU"}, "Country", "did you mean GB?"),
        ({"Country": "ZZ"}, "Country", "ISO 3166"),
        ({"Country": "USA"}, "Country", "two letters, such as US"),
        ({"Name": "12345"}, "Name", "no letter"),
        ({"City": "0"}, "City", "no letter"),
        ({"Name": "N/A"}, "Name", "fill it in"),
        ({"Name": "nan"}, "Name", "a program's word for nothing"),
        ({"AddressLine1": "-"}, "AddressLine1", "fill it in"),
        ({"AddressLine2": "nan"}, "AddressLine2", "a program's word for nothing"),
        ({"Country": "GB", "State": "LN", "Zip": "NULL"}, "Zip", "a program's word for nothing"),
        ({"AddressLine1": "#REF!"}, "AddressLine1", "a spreadsheet's error"),
        ({"AddressLine2": "Stra\ufffde 1"}, "AddressLine2", "a letter was lost"),
        ({"ShippingMethodId": "STANDARD\u200b"}, "ShippingMethodId", "a character that nobody sees"),
    ],
)
def test_a_postal_address_that_nobody_can_have_is_refused(fields: dict[str, Any], field: str, words: str) -> None:
    found = by_post(**fields)
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.parametrize(
    "fields",
    [
        {"Zip": "01234-0001"},
        {"Zip": "012340001"},
        {"Zip": "01234 0001"},
        {"State": "dc", "Country": "us"},
        {"State": "AE", "Zip": "09012"},
        {"Country": "GB", "State": "LN", "Zip": "N1 9GU"},
        {"Country": "JP", "State": "TK", "Zip": "100-0001"},
        {"Name": "Nan Null", "City": "None", "AddressLine1": "12"},
        {"Name": "\u00c5sa 2nd", "City": "\u6771\u4eac"},
    ],
)
def test_a_postal_address_that_somebody_can_have_is_taken(fields: dict[str, Any]) -> None:
    assert by_post(**fields) == {}


def test_all_that_is_wrong_with_a_postal_address_is_said_at_once() -> None:
    assert set(by_post(Zip="1234", State="XX", City="0", Name="")) == {"Zip", "State", "City", "Name"}


@pytest.mark.parametrize(
    ("text", "clear"),
    [
        ("01/02/2026 03:04:05", False),
        ("01/02/2026 03:04:05 AM", True),
        ("12/24/2026 03:04:05", True),
        ("02/02/2026 03:04:05", True),
        ("2026-01-02", True),
    ],
)
def test_a_date_whose_month_is_not_clear_is_asked_about(text: str, clear: bool) -> None:
    address = {"DigitalDeliveryAddress": {"Email": "ann@example.com"}}
    greeting = {"To": "Ann", "FromName": "Ben", "DeliveryDate": text}
    found = problems("DigitalDelivery", **address, Personalization=greeting)
    assert ("DeliveryDate" not in found) == clear
    assert clear or "which of 1 and 2 is the month?" in found["DeliveryDate"]


@pytest.mark.parametrize("text", ["1.23457E+17", "12345.0", "Mar-24", "nan", "#N/A", "A\u200b", "A\u00a01", "-", "?!"])
def test_a_po_number_that_a_spreadsheet_altered_is_refused_in_json_too(text: str) -> None:
    raw = {"Type": "Links", "PONumber": text, "LineItems": [{"ProductId": "CVS", "Value": 10, "Quantity": 1}]}
    with pytest.raises(InvalidSubmission, match="PONumber"):
        read_request(raw)


def test_a_name_that_nobody_sees_is_none() -> None:
    assert list(problems("Links", Personalization={"To": "\u200b\u200d", "FromName": "Ben"})) == ["To"]
    assert problems("Links", Personalization={"To": "\U0001f468\u200d\U0001f469", "FromName": "7"}) == {}


@pytest.mark.parametrize(("value", "words"), [("1.000", "is not clear, 1000 or 1"), ("$10", "holds a currency")])
def test_an_amount_in_a_text_is_asked_about_in_json_too(value: str, words: str) -> None:
    assert words in problems("Links", Value=value)["Value"]
    assert problems("Links", Value=1.000) == problems("Links", Value="1.000,50") == {}
