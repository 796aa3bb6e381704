import gzip
import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from tracking.provider.webhook_bodies import LARGEST_UNPACKED, WebhookCall, read_webhook_call

CALL = {
    "Action": "FulfillmentComplete",
    "OrderId": "BLK-000000001",
    "PONumber": "demo-0001",
    "Timestamp": "01/02/2026 03:04:05 AM",
}
STATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXT = json.dumps(CALL)
ODD_TIMES: tuple[Any, ...] = ({"a": 1}, {"a": 2}, True, False, [], 1.5)


def called(**changes: Any) -> WebhookCall:
    return read_webhook_call(json.dumps(CALL | changes).encode())


def test_a_callback_tells_its_order_and_time() -> None:
    call = called()
    assert (call.action, call.provider_id, call.po_number, call.stated_at, call.reason) == (
        *("FulfillmentComplete", "BLK-000000001", "demo-0001", STATED),
        None,
    )
    assert called(Action="FULFILLMENTCOMPLETE").digest == call.digest
    assert read_webhook_call(json.dumps({name.lower(): value for name, value in CALL.items()}).encode()) == call


def test_the_callbacks_digest_tells_action_order_and_time_apart() -> None:
    changes = {"OrderId": "other", "Timestamp": "01/02/2026 03:04:06 AM", "PONumber": "demo-0002", "Action": "Other"}
    assert len({called().digest, *(called(**{name: value}).digest for name, value in changes.items())}) == 5
    assert called(OrderId=None).digest != called(OrderId=None, PONumber="demo-0002").digest
    assert len({called(Timestamp=odd).digest for odd in ODD_TIMES}) == 6


READABLE: dict[str, tuple[bytes, str, str]] = {
    "a byte order mark": (TEXT.encode("utf-8-sig"), "", ""),
    "UTF-16": (TEXT.encode("utf-16"), "", ""),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "application/json", ""),
    "UTF-32": (TEXT.encode("utf-32"), "", ""),
    "Latin-1, as its charset says": (
        TEXT[:-1].encode() + b', "Note": "\xe9"}',
        "application/json; charset=ISO-8859-1",
        "",
    ),
    "Latin-1, and its charset says otherwise": (TEXT[:-1].encode() + b', "Note": "\xe9"}', "a/b;charset=utf-8", ""),
    "a charset nobody knows": (TEXT.encode(), "application/json; charset=klingon", ""),
    "no content type": (TEXT.encode(), "", ""),
    "XML, as its content type says": (TEXT.encode(), "text/xml", ""),
    "gzip": (gzip.compress(TEXT.encode()), "", "gzip"),
    "gzip that no header tells of": (gzip.compress(TEXT.encode()), "", ""),
    "deflate": (zlib.compress(TEXT.encode()), "", "deflate"),
    "bare deflate": (zlib.compress(TEXT.encode(), wbits=-15), "", "deflate"),
    "plain, though a header says gzip": (TEXT.encode(), "", "gzip"),
    "a list": (f"[{TEXT}]".encode(), "", ""),
    "a list of one call twice": (f"[{TEXT},{TEXT}]".encode(), "", ""),
    "a zero byte at its end": (TEXT.encode() + b"\0", "", ""),
    "a line break within a text": (TEXT[:-1].encode() + b', "Note": "one\ntwo"}', "", ""),
    "an action in other signs": (TEXT.replace("FulfillmentComplete", "fulfilment_completed").encode(), "", ""),
    "JSON within a text": (json.dumps(TEXT).encode(), "", ""),
    "within another object": (json.dumps({"Event": CALL}).encode(), "", ""),
    "further fields": (json.dumps(CALL | {"Extra": {"Deep": [1]}, "Note": None}).encode(), "", ""),
    "a form": (b"Action=FulfillmentComplete&OrderId=BLK-000000001&PONumber=demo-0001&Timestamp=1767323045", "", ""),
    "a form that holds JSON": (b"payload=" + TEXT.replace("/", "%2F").replace(" ", "+").encode(), "", ""),
    "a name twice with the same value": (TEXT[:-1].encode() + b', "PONumber": "demo-0001"}', "", ""),
}


@pytest.mark.parametrize("sent", READABLE.values(), ids=READABLE)
def test_a_callback_is_read_in_any_encoding_and_form(sent: tuple[bytes, str, str]) -> None:
    call = read_webhook_call(*sent)
    assert (call.action, call.provider_id, call.po_number) == ("FulfillmentComplete", "BLK-000000001", "demo-0001")
    assert (call.stated_at, call.reason) == (STATED, None)


@pytest.mark.parametrize(
    "value",
    [None, "soon", "", 0, True, 1.5, float("nan"), {"Seconds": 1764426000}, [], "x" * 5000, "0001-01-01T00:00:00"],
)
def test_a_callback_may_tell_its_time_in_any_way(value: Any) -> None:
    call = called(Timestamp=value)
    assert (call.po_number, call.stated_at, call.reason) == ("demo-0001", None, None)


@pytest.mark.parametrize("stamp", [1767323045, 1767323045.0, "1767323045", 1767323045000, "2026-01-02T03:04:05Z"])
def test_a_time_is_read_in_all_the_forms_that_are_certain(stamp: Any) -> None:
    assert called(Timestamp=stamp).stated_at == STATED


def test_numbers_stand_for_texts() -> None:
    call = called(PONumber=4711, OrderId=12.0, Action="fulfillmentcomplete")
    assert (call.po_number, call.provider_id) == ("4711", "12")


@pytest.mark.parametrize("odd", [{}, ["x"], True, float("nan"), "x" * 300, "\x00"])
def test_an_id_of_a_wrong_type_is_noted_and_not_read(odd: Any) -> None:
    notes: set[str] = set()
    call = read_webhook_call(json.dumps(CALL | {"PONumber": odd}).encode(), notes=notes)
    assert (call.po_number, call.provider_id) == (None, "BLK-000000001")
    assert [note.split()[0] for note in notes] == ["PONumber"]


UNREADABLE = {
    "nothing": b"",
    "space": b" \n",
    "half of it": TEXT[:-30].encode(),
    "no object": b"[]",
    "null": b"null",
    "a number": b"4711",
    "HTML": b"<html><body>Bad gateway</body></html>",
    "too deep": b"[" * 30_000,
    "bytes": b"\xff\xfe\xfa",
    "a bomb": gzip.compress(b" " * 10_000_000 + TEXT.encode()),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_says_so_and_names_nothing(body: bytes) -> None:
    call = read_webhook_call(body)
    assert (call.action, call.provider_id, call.po_number, call.stated_at) == (None, None, None, None)
    assert call.reason == "the body cannot be read"
    assert call.digest == read_webhook_call(body).digest != read_webhook_call(body + b"x").digest


def test_of_several_calls_in_one_body_counts_what_all_of_them_say() -> None:
    calls = [CALL, CALL | {"OrderId": "BLK-2", "PONumber": "demo-0002"}]
    call = read_webhook_call(json.dumps(calls).encode())
    assert (call.action, call.provider_id, call.po_number) == ("FulfillmentComplete", None, None)
    assert (call.stated_at, call.reason) == (STATED, "the body names no order")


def test_a_name_twice_with_different_values_is_not_guessed() -> None:
    call = read_webhook_call(b'{"PONumber": "demo-0001", "PONumber": "demo-0002"}')
    assert (call.po_number, call.reason) == (None, "the body names no order")


def test_another_action_is_no_more_than_a_reason_to_poll() -> None:
    call = called(Action="OrderShipped")
    assert (call.action, call.po_number) == ("OrderShipped", "demo-0001")
    assert call.reason == "its action is not FulfillmentComplete: no more than a reason to poll"


def test_an_action_that_is_free_text_is_cut_and_names_nobody() -> None:
    action = called(Action="gone to ann@example.com, see https://claim.example/secret " + "x" * 100).action
    assert action is not None
    assert action.startswith("gone to a***@example.com, see https://***")
    assert len(action) == 60


def test_a_packed_body_is_unpacked_up_to_its_limit_alone() -> None:
    padded = TEXT.encode() + b" " * (LARGEST_UNPACKED - len(TEXT))
    assert read_webhook_call(gzip.compress(padded), "", "gzip").po_number == "demo-0001"
    assert read_webhook_call(gzip.compress(padded + b" "), "", "gzip").po_number is None
