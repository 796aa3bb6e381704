import asyncio
import json
import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fakes import NOW, line, order_json

from tracking.errors import NotTheProvider, StoreBusy, UnreadableAnswer
from tracking.provider.http.contract import above, endpoint_of, is_documented
from tracking.provider.http.contract_changes import GONE, NEW, changes, groups, mark_read
from tracking.provider.http.recording import ApiCall
from tracking.provider.http.sightings import VALUES_AT_MOST, Sightings
from tracking.storage.database import Database
from tracking.storage.team import sightings as stored
from tracking.storage.team.sightings import AT_MOST, AT_MOST_PER_ENDPOINT, LEARNING, LEARNING_ANSWERS, Sighting

ORDER = "GET /v1/Orders/{id}"
HOUR = timedelta(hours=1)


def answered(raw: Any, path: str = "/v1/Orders/BLK-1", status: int = 200, request: Any = None) -> ApiCall:
    call = ApiCall("GET" if request is None else "POST", path, document=request)
    call.status, call.raw = status, raw
    call.answer_headers = httpx.Headers({"Content-Type": "application/json; charset=utf-8"})
    return call


def see(
    sightings: Sightings, raw: Any, times: int = 1, at: datetime = NOW, error: Exception | None = None, **call: Any
) -> None:
    for _ in range(times):
        sightings.note_answer(answered(raw, **call), error, at, str)


def flush(sightings: Sightings, store: Database, at: datetime = NOW) -> None:
    asyncio.run(sightings.flush(store, at))


def rows(store: Database) -> dict[Sighting, Mapping[Any, Any]]:
    with store.read() as connection:
        found = stored.all_sightings(connection)
    return {Sighting(*(row[name] for name in ("endpoint", "kind", "place", "value"))): row for row in found}


def unread(store: Database) -> list[tuple[str, str, str, int, list[list[str | None]]]]:
    with store.read() as connection:
        news = stored.news(connection)
    return [(each["change"], each["endpoint"], each["kind"], each["number"], each["named"]) for each in news]


def read(store: Database, at: datetime) -> int:
    """Marks all that is told as read; returns how many rows that were."""
    with store.read() as connection:
        news = stored.news(connection)
    ids = {
        change: [each for group in news if group["change"] == change for each in group["ids"]] for change in (NEW, GONE)
    }
    return sum(store.write(lambda connection: mark_read(connection, ids, at)).values())


def learned(store: Database, raw: Any, at: datetime = NOW) -> tuple[Sightings, datetime]:
    """The baseline of a provider that always answers so, and when it was learned."""
    sightings = Sightings()
    see(sightings, raw, LEARNING_ANSWERS, at)
    flush(sightings, store, at)
    see(sightings, raw, 1, at + LEARNING)
    flush(sightings, store, at + LEARNING)
    return sightings, at + LEARNING


def test_fields_words_types_and_statuses_are_stored_with_their_times_and_a_masked_example(store: Database) -> None:
    raw = order_json("BLK-17", "PO-9", "Completed", line(DigitalDeliveryAddress={"Email": "ann@example.com"}))
    sightings = Sightings()
    see(sightings, raw, 3)
    flush(sightings, store)
    see(sightings, raw, 2, NOW + 2 * HOUR)
    flush(sightings, store, NOW + 2 * HOUR)
    found = rows(store)
    row = found[Sighting(ORDER, "type", "Id", "text")]
    assert (row["times"], row["first_at"], row["last_at"]) == (5, NOW, NOW + 2 * HOUR)
    assert row["example"] == "AAA-99"
    assert found[Sighting(ORDER, "word", "LineItems[].Status", "Completed")]["times"] == 5
    assert found[Sighting(ORDER, "status", "", "200")]["times"] == 5
    assert found[Sighting(ORDER, "content type", "", "application/json")]["times"] == 5
    assert found[Sighting(ORDER, "type", "LineItems[].ClaimData[].ClaimLink", "text")]["example"] == "***"
    assert found[Sighting(ORDER, "type", "LineItems[].DigitalDeliveryAddress.Email", "text")]["example"] == "***"
    assert found[Sighting(ORDER, "field", "LineItems[].Value", "")]["above_times"] == 5
    assert all(is_documented(each) for each in found), [each for each in found if not is_documented(each)]
    assert unread(store) == [], "nothing is new while the baseline is learned"


def test_another_process_and_a_restart_add_to_the_same_rows(store: Database) -> None:
    first, second = Sightings(), Sightings()
    for sightings in (first, second, Sightings()):
        see(sightings, order_json(), 10)
        flush(sightings, store)
    row = rows(store)[Sighting(ORDER, "field", "Status", "")]
    assert (row["times"], row["above_times"]) == (30, 30)


def test_an_unchanged_answer_and_what_somebody_else_answered_are_not_looked_at(store: Database) -> None:
    sightings = Sightings()
    call = answered(order_json())
    call.masked_answer = '"unchanged"'
    sightings.note_answer(call, None, NOW, str)
    see(sightings, {"blocked": "by the firewall"}, error=NotTheProvider("a page", status=403), status=403)
    see(sightings, None, error=UnreadableAnswer("no JSON", status=200))
    flush(sightings, store)
    assert {each.kind for each in rows(store)} == {"status", "content type"}
    assert rows(store)[Sighting(ORDER, "status", "", "200")]["times"] == 1


def test_what_is_new_since_the_baseline_is_told_once_grouped_with_an_example(
    store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    sightings, at = learned(store, order_json())
    later = at + HOUR
    changed = order_json(status="OnHold") | {"Tracking": {"Number": "1Z-99", "Carrier": "ups"}, "Total": 10.5}
    with caplog.at_level(logging.WARNING, logger="tracking"):
        see(sightings, changed, 2, later)
        flush(sightings, store, later)
    assert unread(store) == [
        ("new", ORDER, "field", 2, [["Total", "", "99.9"], ["Tracking", "", None]]),
        ("new", ORDER, "word", 1, [["Status", "OnHold", "OnHold"]]),
    ]
    assert "Total" in caplog.text
    assert "1Z" not in caplog.text
    assert read(store, later) == 9, "what stands inside is read too"
    assert read(store, later) == 0
    see(sightings, changed, 5, later + HOUR)
    flush(sightings, store, later + HOUR)
    assert unread(store) == []
    see(sightings, changed | {"Tracking": {"Eta": "soon"}}, 1, later + 2 * HOUR)
    flush(sightings, store, later + 2 * HOUR)
    assert [each[4] for each in unread(store)] == [[["Tracking.Eta", "", "aaaa"]]]


def test_a_type_that_changes_and_a_field_that_vanishes_are_told(store: Database) -> None:
    raw = order_json()
    sightings, at = learned(store, raw)
    raw["LineItems"][0]["Value"] = "10.00"
    del raw["Type"]
    raw["type"] = "Links"  # in the spelling of the provider's twin
    see(sightings, raw, 60, at + HOUR / 2)
    flush(sightings, store, at + HOUR / 2)
    assert unread(store) == [("new", ORDER, "type", 1, [["LineItems[].Value", "text", "99.99"]])], "gone takes an hour"
    see(sightings, raw, 1, at + 2 * HOUR)
    flush(sightings, store, at + 2 * HOUR)
    assert sorted(unread(store)) == [
        ("gone", ORDER, "field", 1, [["Type", "", "Aaaaa"]]),
        ("gone", ORDER, "type", 1, [["LineItems[].Value", "number", "99"]]),
        ("new", ORDER, "type", 1, [["LineItems[].Value", "text", "99.99"]]),
    ]
    assert read(store, at + 2 * HOUR) == 3
    see(sightings, raw | {"Type": "Links"}, 1, at + 3 * HOUR)
    flush(sightings, store, at + 3 * HOUR)
    assert unread(store) == []
    back = rows(store)[Sighting(ORDER, "field", "Type", "")]
    assert back["read_as"] == "new", "should it go once more, that is told"


def test_what_comes_now_and_then_is_never_missed(store: Database) -> None:
    sightings = Sightings()
    for number in range(LEARNING_ANSWERS):
        see(sightings, order_json() | ({"Note": "x"} if number % 2 else {}))
    flush(sightings, store)
    see(sightings, order_json(), 300, NOW + LEARNING)
    flush(sightings, store, NOW + LEARNING)
    see(sightings, order_json(), 300, NOW + 2 * LEARNING)
    flush(sightings, store, NOW + 2 * LEARNING)
    assert unread(store) == []


def test_the_errors_of_an_order_are_told_apart_from_the_order(store: Database) -> None:
    sightings, path = Sightings(), "/v1/Orders"
    request = {"PONumber": "P-1"}
    duplicate = {"PONumber": "P-1", "PreviousOrderIds": ["BLK-1"]}
    refused = {"Errors": [{"Property": "LineItems[3].Value", "Errors": ["too small"]}], "Code": "E_VALUE"}
    see(sightings, duplicate, path=path, status=409, request=request)
    see(sightings, refused, path=path, status=400, request=request)
    flush(sightings, store)
    found = {each[1:] for each in rows(store)}
    assert ("type", "409 PreviousOrderIds[]", "text") in found
    assert ("word", "400 Errors[].Property", "LineItems[].Value") in found
    assert ("word", "400 Code", "E_VALUE") in found
    undocumented = {each[1:] for each in rows(store) if not is_documented(each)}
    assert undocumented == {
        ("field", "400 Code", ""),
        ("type", "400 Code", "text"),
        ("word", "400 Code", "E_VALUE"),
    }


def test_names_and_words_that_look_like_data_or_name_somebody_are_not_stored(store: Database) -> None:
    sightings = Sightings()
    people = line(DigitalDeliveryAddress={"Email": "ann@example.com"}, Personalization={"To": "Ann Onymous"})
    raw = order_json("BLK-1", "P", "Pending", people) | {
        "ByRecipient": {"ann@example.com": {"Status": "Ann Onymous"}, "Onymous": 1, "5550100123": 2, "Ann Onymous": 3},
        "Status": "sent to ann@example.com",
        "SubStatus": "Ann Onymous",
    }
    raw["LineItems"][0]["ClaimData"] = [{"Pin-KXQ": "KXQ-77", "ClaimLink": "https://claim.example/KXQ"}]
    call = answered(raw)
    sightings.note_answer(call, None, NOW, lambda text: text.replace("Onymous", "***"))
    flush(sightings, store)
    text = json.dumps([[str(value) for value in row.values()] for row in rows(store).values()])
    assert not [part for part in ("ann", "Ann", "nymous", "5550100", "KXQ", "claim.example") if part in text]
    found = {each[1:] for each in rows(store)}
    assert ("field", "ByRecipient.{name}", "") in found
    assert ("field", "LineItems[].ClaimData[].{name}", "") in found
    assert ("word", "Status", "{word}") in found


def test_a_provider_that_invents_fields_fills_neither_memory_nor_store(store: Database) -> None:
    sightings = Sightings()
    for number in range(60):
        invented: dict[str, Any] = {
            f"{letter}{chr(97 + number % 26)}{chr(97 + number // 26)}": {"deep": {}} for letter in "abcdefgh"
        }
        see(sightings, order_json() | {f"Group{chr(97 + number % 26)}": invented})
    deep: Any = {}
    for _ in range(40):
        deep = {"a": [deep]}
    see(sightings, deep)
    see(sightings, {f"k{'x' * (number % 30)}{number}": number for number in range(100_000)})
    assert len(sightings._counts) < AT_MOST_PER_ENDPOINT + VALUES_AT_MOST
    flush(sightings, store)
    for number in range(12):
        other = Sightings()
        see(other, {f"Z{chr(97 + number)}{chr(97 + index % 26)}{chr(97 + index // 26)}": {} for index in range(40)})
        flush(other, store)
    found = rows(store)
    assert len(found) <= 2 * AT_MOST_PER_ENDPOINT + 100 <= AT_MOST
    assert found[Sighting(ORDER, "beyond", "", "")]["times"] > 0
    see(sightings, order_json("BLK-1", "P", "Completed"))
    flush(sightings, store)
    assert Sighting(ORDER, "word", "Status", "Completed") in rows(store), "what is documented always has room"


def test_nothing_is_lost_while_the_store_cannot_be_written(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(_job: object) -> None:
        raise StoreBusy("locked")

    sightings = Sightings()
    see(sightings, order_json(), 3)
    with monkeypatch.context() as patch:
        patch.setattr(store, "run", busy)
        with pytest.raises(StoreBusy):
            flush(sightings, store)
    see(sightings, order_json(), 2)
    flush(sightings, store)
    row = rows(store)[Sighting(ORDER, "field", "Status", "")]
    assert (row["times"], row["above_times"]) == (5, 5)


def test_endpoints_are_named_without_what_is_a_value_in_them() -> None:
    paths = ("/v1/Orders/BLK-1", "/v1/Orders", "/v1/AccountBalance", "/v1/Secrets/x", "/")
    assert [endpoint_of("GET", path) for path in paths] == [
        ORDER, "GET /v1/Orders", "GET /v1/AccountBalance", "other", "other",
    ]  # fmt: skip
    codes = [("POST /v1/Orders", "409"), ("POST /v1/Orders", "200"), (ORDER, "404"), ("GET /v1/Products", "503")]
    named = [is_documented(Sighting(endpoint, "status", "", code)) for endpoint, code in codes]
    assert named == [True, False, True, False]
    places = ("LineItems[].Status", "LineItems[]", "LineItems", "409 PONumber", "409", "")
    outer = [each and each.place for each in (above(Sighting("", "field", place, "")) for place in places)]
    assert outer == ["LineItems[]", "LineItems", "", "409", None, None]


def test_a_baseline_takes_a_day_and_enough_answers(store: Database) -> None:
    sightings = Sightings()
    see(sightings, order_json())
    flush(sightings, store)
    see(sightings, order_json() | {"Odd": 1}, 1, NOW + 3 * LEARNING)
    flush(sightings, store, NOW + 3 * LEARNING)
    with store.read() as connection:
        learning = stored.learning(connection)
        found = stored.all_sightings(connection)
    assert learning is not None
    assert (learning.over_at, learning.answers) == (None, 2)
    assert changes(found, None, NOW) == {}
    assert groups(found, NOW + HOUR, NOW + 4 * LEARNING)[0]["named"] == [["Odd", "", "9"]]


def test_two_processes_at_once_lose_nothing_and_count_nothing_twice(store: Database) -> None:
    def works(own: Database, gathered: Sightings) -> None:
        for number in range(10):
            see(gathered, order_json() | {f"New_{chr(97 + number)}": 1})
            flush(gathered, own, NOW + number * timedelta(minutes=2))

    stores = [Database(store.url) for _ in range(2)]
    threads = [threading.Thread(target=works, args=(own, Sightings())) for own in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in stores:
        own.close()
    found = rows(store)
    assert found[Sighting(ORDER, "field", "Status", "")]["times"] == 20
    assert found[Sighting(ORDER, "field", "New_a", "")]["times"] == 2
    with store.read() as connection:
        learning = stored.learning(connection)
    assert learning is not None
    assert learning.answers == 20
