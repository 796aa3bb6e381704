"""Orders and claim data as the sandbox serves them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_small_links_order_is_complete_with_its_claim_in_the_answer(desk: Desk) -> None:
    desk.start()
    order = desk.place("demo-1", note="wave 1", hook="https://hooks.example.com/x?key=1")
    assert order["Status"] == "Completed"
    assert (order["PONumber"], order["Type"], order["Note"]) == ("demo-1", "Links", "wave 1")
    assert order["Timestamp"] == "2027-01-15T08:00:00"
    assert order["WebhookSettings"] == {"FulfillmentComplete": "https://hooks.example.com/x?key=1"}
    (line,) = order["LineItems"]
    assert (line["Status"], line["Cost"], line["ExternalId"]) == ("Completed", 9.75, "row-1")
    (claim,) = line["ClaimData"]
    assert claim["ClaimLink"].startswith("https://claim.example.com/")
    assert claim["ClaimLinkChallengeAnswer"]


def test_codes_carry_a_barcode_and_a_pin_for_each_unit(desk: Desk) -> None:
    desk.start()
    (line,) = desk.place("po", kind="Codes", Quantity=3)["LineItems"]
    assert len(line["ClaimData"]) == 3
    assert len({claim["BarcodeChars"] for claim in line["ClaimData"]}) == 3
    assert [code["Label"] for code in line["ClaimData"][0]["Codes"]] == ["Card number", "PIN"]
    assert "ClaimLink" not in line["ClaimData"][0]


def test_late_and_short_claims_become_full(desk: Desk) -> None:
    desk.start()
    late = desk.place("late", note="[late-claims]", Quantity=2)
    short = desk.place("short", note="[short-claims]", Quantity=2)
    assert (late["Status"], late["LineItems"][0]["ClaimData"]) == ("Completed", None)
    assert (short["Status"], len(short["LineItems"][0]["ClaimData"])) == ("Completed", 1)
    assert len(desk.read(late, after=120)["LineItems"][0]["ClaimData"]) == 2
    assert len(desk.read(short)["LineItems"][0]["ClaimData"]) == 2


def test_claims_rotate_only_where_asked_for(desk: Desk) -> None:
    desk.start()
    steady, rotating = desk.place("a"), desk.place("b", note="[rotating-claims]")
    assert desk.read(steady)["LineItems"] == steady["LineItems"]
    first, second = desk.read(rotating)["LineItems"], desk.read(rotating)["LineItems"]
    assert first[0]["ClaimData"][0]["ClaimLink"] != second[0]["ClaimData"][0]["ClaimLink"]
    assert first[0]["ClaimData"][0]["Id"] == second[0]["ClaimData"][0]["Id"]


def test_the_truth_is_of_the_present_and_not_of_the_future(desk: Desk) -> None:
    sandbox = desk.start()
    order = desk.place("po", lines=10, Quantity=2)
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["status"], truth["type"], truth["units"]) == (order["Id"], "Pending", "Links", 20)
    assert (truth["completed_at"], truth["posts"], truth["source"]) == (None, 1, "api")
    assert [line["id"] for line in truth["lines"]] == [line["Id"] for line in order["LineItems"]]
    desk.now += 1000
    (truth,) = sandbox.truth()
    assert truth["status"] == "Completed"
    begun, ended = datetime.fromisoformat(truth["created_at"]), datetime.fromisoformat(truth["completed_at"])
    assert 0 < (ended - begun).total_seconds() < 1000


def test_what_was_sent_may_come_back_otherwise(desk: Desk) -> None:
    lines = [{"ProductId": "CVS", "Value": 10, "Quantity": 1, "ExternalId": name} for name in ("row-a", "row-b")]
    body = {"Type": "Links", "PONumber": "Wave-1", "Note": "hello", "LineItems": lines}
    for scenario in ("echo-without-external-ids", "echo-respelled", "echo-regrouped", "echo-in-lower-case"):
        desk.start(scenario)
        placed = desk.post(body | {"PONumber": f"Wave-{scenario}"}).json()
        shown = desk.get(f"Orders/{placed['Id']}").json()
        first = shown["LineItems"][0]
        match scenario:
            case "echo-without-external-ids":
                assert [line["ExternalId"] for line in shown["LineItems"]] == [None, None]
            case "echo-respelled":
                assert (first["ProductId"], first["Value"], first["Quantity"]) == ("cvs", "10.00", 1.0)
                assert (first["ExternalId"], shown["Note"]) == ("ROW-A", "HELLO\u00a0")
            case "echo-regrouped":
                assert len(shown["LineItems"]) == 1
                assert (first["Quantity"], len(first["ClaimData"])) == (2, 2)
            case _:
                assert placed["PONumber"] == f"wave-{scenario}"
                assert shown["Id"] == placed["Id"].upper() != placed["Id"]
