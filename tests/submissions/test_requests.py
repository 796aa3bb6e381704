import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.errors import InvalidSubmission
from tracking.provider.responses import read_order
from tracking.submissions.requests import order_document, read_request, with_po_number

POSTAL = {
    "ShippingMethodId": "STANDARD",
    "Name": "Ann",
    "AddressLine1": "1 Main St",
    "City": "Springfield",
    "State": "il",
    "Zip": "62701",
    "Country": "us",
}


NAMES = ["Type", "PONumber", "LineItems", "ProductId", "Value", "Quantity", "Email", "Sms", "Name", "State", "To"]
NAMES += ["DigitalDeliveryAddress", "PhysicalDeliveryAddress", "Personalization", "DeliveryDate", "WebhookSettings"]
TYPES = ["DigitalDelivery", "Links", "PhysicalShipment", "Codes"]


def asked(kind: str = "Links", *items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"Type": kind, "PONumber": "demo-1", "LineItems": list(items) or [item()]} | fields


def item(**fields: Any) -> dict[str, Any]:
    return {"ProductId": "CVS", "Value": 10, "Quantity": 1} | fields


def test_a_request_in_any_case_becomes_the_providers_shape() -> None:
    raw = {
        "type": "digitaldelivery",
        "note": " hi ",
        "lineitems": [
            {
                "productid": "CVS",
                "value": "12.50",
                "quantity": "2",
                "externalid": "row-1",
                "digitaldeliveryaddress": {"EMAIL": "ann@example.com"},
                "personalization": {
                    "to": "Ann",
                    "fromname": "Bob",
                    "deliverydate": "01/02/2026 03:04:05 AM",
                    "message": "a\nb",
                },
            }
        ],
    }
    request = with_po_number(read_request(raw), "demo-1")
    assert request.document == {
        "Type": "DigitalDelivery",
        "PONumber": "demo-1",
        "Note": "hi",
        "LineItems": [
            {
                "ProductId": "CVS",
                "Value": 12.5,
                "Quantity": 2,
                "ExternalId": "row-1",
                "DigitalDeliveryAddress": {"Email": "ann@example.com"},
                "Personalization": {
                    "To": "Ann",
                    "FromName": "Bob",
                    "Message": "a\nb",
                    "DeliveryDate": "2026-01-02T03:04:05Z",
                },
            }
        ],
    }
    (line,) = request.lines
    assert (request.po_number, request.type, request.note) == ("demo-1", "DigitalDelivery", "hi")
    assert (line.number, line.value_minor, line.quantity, line.recipient) == (1, 1250, 2, "ann@example.com")


def test_a_request_may_leave_its_po_number_to_the_console() -> None:
    raw = asked()
    del raw["PONumber"]
    request = read_request(raw)
    assert request.po_number == ""
    assert "PONumber" not in request.document


def test_what_the_provider_echoes_of_a_request_equals_what_was_asked() -> None:
    request = read_request(asked("PhysicalShipment", item(PhysicalDeliveryAddress=POSTAL, ExternalId="7")))
    echoed = dict(request.document) | {"Id": "B", "Status": "Pending"}
    assert read_order(echoed).snapshot.lines == request.lines
    assert request.document["LineItems"][0]["PhysicalDeliveryAddress"]["State"] == "IL"


@pytest.mark.parametrize(
    ("raw", "where", "hint"),
    [
        (None, "", "object"),
        ([], "", "object"),
        ({"LineItems": [item()]}, "Type", "fill it in"),
        (asked("Gift"), "Type", "one of DigitalDelivery"),
        ({"Type": "Links"}, "LineItems", "fill it in"),
        (asked(LineItems=[]), "LineItems", "at least one"),
        (asked(LineItems={"a": 1}), "LineItems", "at least one"),
        (asked("Links", LineItems=[5]), "LineItems[0]", "object"),
        (asked(PONumber="x" * 101), "PONumber", "100"),
        (asked(PONumber="a\nb"), "PONumber", "retype it"),
        (asked(Note="x" * 251), "Note", "250"),
        (asked(Notes="x"), "Notes", "did you mean Note?"),
        (asked(Zebra="x"), "Zebra", "remove it"),
        (asked(note="x", Note="y"), "Note", "twice"),
        (asked(WebhookSettings={"FulfillmentComplete": "https://x.example"}), "WebhookSettings", "this console"),
        (asked(Personalization={"PhotoUrl": "x" * 151}), "Personalization.PhotoUrl", "150"),
        (asked("Links", item(ProductId="")), "LineItems[0].ProductId", "fill it in"),
        (asked("Links", item(), item(Value=0)), "LineItems[1].Value", "above 0"),
        (asked("Links", item(Value="9.999")), "LineItems[0].Value", "two decimals"),
        (asked("Links", item(Value=True)), "LineItems[0].Value", "amount"),
        (asked("Links", item(Value=None)), "LineItems[0].Value", "fill it in"),
        (asked("Links", item(Quantity=0)), "LineItems[0].Quantity", "whole number"),
        (asked("Links", item(Quantity=1.5)), "LineItems[0].Quantity", "whole number"),
        (asked("Links", item(Quantity=10**5000)), "LineItems[0].Quantity", "whole number"),
        (asked("Links", item(ExternalId="x" * 101)), "LineItems[0].ExternalId", "100"),
        (asked("Links", item(ExternalId=10**5000)), "LineItems[0].ExternalId", "100"),
        (asked("DigitalDelivery"), "LineItems[0].DigitalDeliveryAddress", "fill it in"),
        (
            asked("DigitalDelivery", item(DigitalDeliveryAddress={"Email": " "})),
            "LineItems[0].DigitalDeliveryAddress.Email",
            "Email or Sms",
        ),
        (
            asked("DigitalDelivery", item(DigitalDeliveryAddress={"Email": "ann"})),
            "LineItems[0].DigitalDeliveryAddress.Email",
            "name@example.com",
        ),
        (
            asked("DigitalDelivery", item(DigitalDeliveryAddress={"Sms": "1" * 21})),
            "LineItems[0].DigitalDeliveryAddress.Sms",
            "20",
        ),
        (asked("PhysicalShipment"), "LineItems[0].PhysicalDeliveryAddress", "fill it in"),
        (
            asked("PhysicalShipment", item(PhysicalDeliveryAddress=POSTAL | {"Country": "USA"})),
            "LineItems[0].PhysicalDeliveryAddress.Country",
            "two letters",
        ),
        (
            asked("PhysicalShipment", item(PhysicalDeliveryAddress=POSTAL | {"Zip": None})),
            "LineItems[0].PhysicalDeliveryAddress.Zip",
            "fill it in",
        ),
        (
            asked("Links", item(PhysicalDeliveryAddress=POSTAL)),
            "LineItems[0].PhysicalDeliveryAddress",
            "PhysicalShipment",
        ),
        (asked("Links", item(Personalization={"To": "A"})), "LineItems[0].Personalization.FromName", "fill it in"),
        (
            asked("Links", item(Personalization={"To": "A", "FromName": "B", "Message": "x" * 401})),
            "LineItems[0].Personalization.Message",
            "400",
        ),
        (
            asked("Links", item(Personalization={"To": "A", "FromName": "B", "DeliveryDate": "soon"})),
            "LineItems[0].Personalization.DeliveryDate",
            "UTC",
        ),
        (
            asked(
                "PhysicalShipment",
                item(
                    PhysicalDeliveryAddress=POSTAL,
                    Personalization={"To": "A", "FromName": "B", "DeliveryDate": "2026-01-02"},
                ),
            ),
            "LineItems[0].Personalization.DeliveryDate",
            "digital",
        ),
    ],
)
def test_a_broken_rule_is_named_with_its_place_and_a_way_out(raw: Any, where: str, hint: str) -> None:
    found = problems_of(raw)
    assert list(found) == [where]
    assert hint in found[where]


def test_all_problems_are_told_at_once() -> None:
    raw = asked("DigitalDelivery", item(Value=-1, Quantity="x"), item(ProductId=None), Note="x" * 300)
    places = set(problems_of(raw))
    assert places == {
        "Note",
        "LineItems[0].Value",
        "LineItems[0].Quantity",
        "LineItems[0].DigitalDeliveryAddress",
        "LineItems[1].ProductId",
        "LineItems[1].DigitalDeliveryAddress",
    }


def test_a_problem_does_not_repeat_the_recipient() -> None:
    raw = asked("DigitalDelivery", item(DigitalDeliveryAddress={"Email": "ann example.com"}))
    assert "ann" not in " ".join(problems_of(raw).values())


def problems_of(raw: Any) -> dict[str, str]:
    with pytest.raises(InvalidSubmission) as caught:
        read_request(raw)
    return {problem.where: problem.message for problem in caught.value.problems}


def test_a_json_number_is_read_as_a_text_where_a_text_belongs() -> None:
    request = read_request(asked("Links", item(ExternalId=7), PONumber=123))
    assert (request.po_number, request.lines[0].external_id) == ("123", "7")


@pytest.mark.parametrize("value", [5.5, True, ["a"], {"a": 1}])
def test_a_text_is_no_other_json(value: Any) -> None:
    assert problems_of(asked(Note=value)) == {"Note": "must be a text"}


def test_what_is_wrong_with_a_type_does_not_hide_what_is_wrong_with_the_lines() -> None:
    broken = item(Value="ten", DigitalDeliveryAddress={"Email": "no address"})
    email = "LineItems[0].DigitalDeliveryAddress.Email"
    found = problems_of(asked("Gift", broken))
    assert set(found) == {"Type", "LineItems[0].Value", email}
    assert found[email] == problems_of(asked("DigitalDelivery", broken))[email]
    # What an address lacks depends on the type; what is in it is wrong whatever the type.
    postal = item(PhysicalDeliveryAddress={"Name": "Ann", "Zip": "1", "Country": "US"})
    assert set(problems_of(asked("Gift", postal))) == {"Type", "LineItems[0].PhysicalDeliveryAddress.Zip"}
    assert set(problems_of(asked("Gift", item(DigitalDeliveryAddress={})))) == {"Type"}


def test_a_name_that_is_not_known_is_compared_with_those_of_its_own_object() -> None:
    line = item(DigitalDeliveryAddress={"Emial": "ann@example.com"}, Personalization={"FromNmae": "Bob"})
    found = problems_of(asked("DigitalDelivery", line, Personalization={"PhotoURI": "x"}))
    assert found["Personalization.PhotoURI"] == "is not known here: did you mean PhotoUrl?"
    assert found["LineItems[0].DigitalDeliveryAddress.Emial"] == "is not known here: did you mean Email?"
    assert found["LineItems[0].DigitalDeliveryAddress.Email"] == "is missing: fill in Email or Sms"
    assert found["LineItems[0].Personalization.FromNmae"] == "is not known here: did you mean FromName?"


def test_an_unknown_name_that_is_a_persons_address_is_masked() -> None:
    assert problems_of(asked() | {"ann@example.com": 1}) == {"a***@example.com": "is not known here: remove it"}


SECRET = "s3cret"


def test_an_amount_that_no_database_holds_in_quantity_is_refused() -> None:
    body = {"Type": "Links", "PONumber": "po", "LineItems": [{"ProductId": "X", "Value": 100_000_001, "Quantity": 1}]}
    with pytest.raises(InvalidSubmission) as refused:
        read_request(body)
    assert [str(each) for each in refused.value.problems] == [
        "LineItems[0].Value: must be an amount of at most 100,000,000"
    ]


@pytest.mark.parametrize("kind", [*TYPES, SECRET])
def test_no_problem_repeats_a_value_of_the_request(kind: str) -> None:
    value = f"{SECRET}\x00" * 50
    address = dict.fromkeys([*POSTAL, "Email", "Sms", "CarrierId"], value)
    line: dict[str, Any] = dict.fromkeys(["ProductId", "Value", "Quantity", "ExternalId", "Culture", "Zebra"], value)
    line |= {"DigitalDeliveryAddress": address, "PhysicalDeliveryAddress": address}
    line |= {"Personalization": dict.fromkeys(["To", "FromName", "FromEmail", "Message", "DeliveryDate"], value)}
    with pytest.raises(InvalidSubmission) as caught:
        read_request(asked(kind, line, PONumber=value, note=value, WebhookSettings=value, Zebra=value))
    assert len(caught.value.problems) > 10
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.problems}"
    assert caught.value.__context__ is None, "pydantic's error holds what came in"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*TYPES, "10", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner),
    max_leaves=20,
)
ITEMS = st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=3).map(lambda more: item(**more))
REQUESTS = st.builds(
    lambda kind, items, more: asked(kind, *items) | more,
    st.sampled_from(TYPES),
    st.lists(ITEMS, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=2),
)


@given(JSON_VALUES | REQUESTS)
@settings(max_examples=150, deadline=None)
def test_any_json_is_an_order_request_or_says_what_is_wrong_with_it(raw: Any) -> None:
    with contextlib.suppress(InvalidSubmission):
        request = read_request(raw)
        assert read_request(json.loads(json.dumps(request.document))) == request


def test_a_forms_values_become_a_document_without_what_was_left_empty() -> None:
    address, greeting = {"Email": "", "Sms": "+15550100"}, {"To": "", "FromName": None}
    lines = [item(ExternalId="", DigitalDeliveryAddress=address, Personalization=greeting), item()]
    document = order_document(order_type="DigitalDelivery", po_number="p-1", lines=lines, note="", photo_url="")
    assert document == {
        "Type": "DigitalDelivery",
        "PONumber": "p-1",
        "LineItems": [item(DigitalDeliveryAddress={"Sms": "+15550100"}), item()],
    }


def test_a_forms_document_is_a_request_as_it_stands() -> None:
    document = order_document(
        order_type="Links", po_number="p-1", lines=[item()], note="wave 1", greeting_url="https://example.com/hello"
    )
    assert document["Personalization"] == {"GreetingUrl": "https://example.com/hello"}
    assert read_request(document).document == document
