import contextlib
import json
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from histories import History

from tracking.access import Access, Person
from tracking.errors import NotPermitted
from tracking.orders import event_chain
from tracking.orders.model import Event, Witness
from tracking.orders.observations import Polled
from tracking.provider.responses import ParsedOrder
from tracking.reports.evidence import layout, verification
from tracking.reports.evidence.layout import EVENTS, LINES, MANIFEST, NAMES, PAGE, NotEvidence, pack
from tracking.reports.evidence.verification import verify
from tracking.storage import database
from tracking.storage.tables import CALLBACKS, EXCHANGES, ORDERS
from tracking.storage.tables import EVENTS as EVENTS_TABLE
from tracking.storage.tables import LINES as LINES_TABLE
from tracking.storage.team.tables import AUDIT_LOG
from tracking.team.evidence import export_evidence

ANN = Person("ann")
VIEWER = Person("vic@example.com", Access.VIEWER, signed_in=True)
RECIPIENT = "jane.doe@example.com"
HOSTILE = 'PO </td><script>alert("1")</script>'


def made(history: History, po_number: str = "po-1", *, masked: bool = True, by: Person = ANN) -> bytes:
    number = history.numbers[po_number]
    return export_evidence(history.database, number, masked=masked, by=by, now=history.at).content


def story(history: History, po_number: str = "po-1", **more: Any) -> int:
    """An order that was completed, once its people had their say."""
    number = history.place(po_number, lines=3, recipient=RECIPIENT, external_id="row", **more)
    history.complete(po_number)
    return number


@pytest.fixture(scope="module")
def both_files(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The evidence file of one order, masked and whole: most tests need no store of their own to change it."""
    file = shutil.copy(migrated_file, tmp_path_factory.mktemp("store") / "tracking.db")
    with contextlib.closing(database.connect(f"sqlite:///{file}")) as store:
        history = History(store)
        story(history)
        return made(history), made(history, masked=False)


@pytest.fixture
def masked_file(both_files: tuple[bytes, bytes]) -> bytes:
    return both_files[0]


@pytest.fixture
def whole_file(both_files: tuple[bytes, bytes]) -> bytes:
    return both_files[1]


def repacked(raw: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The file as somebody makes it who has changed it and then brought every hash of its manifest up to date."""
    files = dict(layout.unpack(raw).files)
    change(files)
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {name: verification.file_entry(files[name]) for name in files if name != MANIFEST}
    files[MANIFEST] = layout.manifest_text(manifest)
    return pack(files)


def findings(raw: bytes) -> list[str]:
    """What is wrong with it, in words; that it is no evidence file is one of them."""
    try:
        return list(verify(raw).differences)
    except NotEvidence as exc:
        return [str(exc)]


def records(raw: bytes, name: str) -> list[Any]:
    return layout.read_jsonl(layout.unpack(raw).files[name])


def test_an_evidence_file_proves_itself_and_is_the_same_for_the_same_content(history: History) -> None:
    story(history)
    history.acknowledge("po-1", "seen")
    raw = made(history)
    result = verify(raw)
    assert (result.differences, result.caveats) == ((), ())
    assert result.verdict == (
        "Completed on 2026-03-04, 10:00 to 10:11, confirmed by a poll. A decision was taken by Bea."
    )
    assert raw == made(history)
    with zipfile.ZipFile(BytesIO(raw)) as archive:
        assert archive.namelist() == list(NAMES)
        assert archive.testzip() is None
    texts = layout.unpack(raw).files[EVENTS].splitlines()
    following = [*(json.loads(text)[-1] for text in texts[1:]), result.manifest and result.manifest["order"]["head"]]
    assert [layout.sha256(text) for text in texts] == following


def test_recipients_are_whole_for_operators_alone_and_claim_data_for_nobody(history: History) -> None:
    number = story(history)
    answer = {"LineItems": [{"Id": "x", "ClaimLink": "https://claim.example.com/kanari", "Note": RECIPIENT}]}
    history.see(
        "po-1", Polled(history.snapshot("po-1", "Completed")),
        shown=ParsedOrder(history.snapshot("po-1", "Completed"), answer, "digest-2"),
    )  # fmt: skip
    masked, whole = made(history, by=VIEWER), made(history, masked=False)
    assert verify(masked).differences == verify(whole).differences == ()
    assert RECIPIENT.encode() not in masked
    assert whole.count(RECIPIENT.encode()) >= 3
    assert b"kanari" not in whole + masked
    assert "recipient_salt" not in records(masked, LINES)[0]
    with pytest.raises(NotPermitted):
        made(history, masked=False, by=VIEWER)
    with history.database.read() as connection:
        entries = connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).all()
    assert [(row.person, row.kind, row.order_id, row.detail["masked"]) for row in entries] == [
        ("vic@example.com", "evidence exported", number, True),
        ("ann", "evidence exported", number, False),
    ]
    assert [row.detail["sha256"] for row in entries] == [layout.sha256(masked), layout.sha256(whole)]


def test_calls_and_webhooks_are_in_it_and_list_pages_tell_nothing_of_other_orders(history: History) -> None:
    number = story(history)
    call = {"method": "GET", "milliseconds": 3, "outcome": "ok", "request": None}
    own = {"at": history.at, "path": "/v1/Orders/BLK-1", "order_id": number, "answer": '{"Id": "BLK-1"}'}
    page = {"at": history.at, "path": "/v1/Orders?page=1", "order_id": None, "answer": '{"Data": ["other-order"]}'}
    webhook = {"received_at": history.at, "last_at": history.at, "outcome": "accepted", "order_id": number}
    with history.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(EXCHANGES)).scalar() == 0
    history.database.write(lambda connection: connection.execute(sa.insert(EXCHANGES), [call | own, call | page]))
    history.database.write(lambda connection: connection.execute(sa.insert(CALLBACKS), webhook))
    raw = made(history)
    assert verify(raw).differences == ()
    assert [(each["path"], each["answer"]) for each in records(raw, "api-calls.jsonl")] == [
        ("/v1/Orders/BLK-1", '{"Id": "BLK-1"}'),
        ("/v1/Orders?page=1", None),
    ]
    assert [each["outcome"] for each in records(raw, "webhook-calls.jsonl")] == ["accepted"]


def test_the_first_page_runs_nothing_and_takes_no_text_for_markup(history: History) -> None:
    story(history, HOSTILE)
    page = layout.unpack(made(history, HOSTILE)).files[PAGE].decode()
    assert not re.findall(r"<script|<img|<link|<iframe|javascript:|\son\w+=|@import|url\(", page, re.IGNORECASE)
    assert HOSTILE in unescape(page)
    assert "default-src" in page
    assert len(page) < 20_000


def test_a_changed_byte_anywhere_is_named(masked_file: bytes) -> None:
    raw, rng = masked_file, random.Random(1)
    header, directory = range(200), range(len(raw) - 500, len(raw), 3)
    for at in {*header, *directory, *rng.sample(range(len(raw)), 300)}:
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        differences = findings(bytes(changed))
        assert differences, f"the byte at {at}"
        assert all(differences)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_missing_added_twice_or_swapped_is_named(masked_file: bytes, name: str) -> None:
    raw = repacked(masked_file, lambda files: files.update({"webhook-calls.jsonl": b"{}\n"}))
    files = layout.unpack(raw).files
    other = NAMES[NAMES.index(name) - 1]
    assert f"{name}: is missing" in verify(pack({each: files[each] for each in NAMES if each != name})).differences
    assert f"{name}: is there twice" in verify(twice(files, name)).differences
    swapped = verify(pack({**files, name: files[other], other: files[name]})).differences
    # Without the manifest nobody knows what the others should hold.
    for each in {name, other} if MANIFEST not in {name, other} else {MANIFEST}:
        assert any(each in text for text in swapped)


def twice(files: dict[str, bytes], name: str) -> bytes:
    raw = pack(files)
    at = raw.index(b"PK\x01\x02")
    size = len(pack({name: files[name]})[: 30 + len(name) + len(files[name])])
    return raw[:at] + pack({name: files[name]})[:size] + raw[at:]


def test_whatever_field_of_the_log_is_changed_it_is_named_with_its_event(masked_file: bytes) -> None:
    raw = masked_file
    count = len(records(raw, EVENTS))
    others = ["other", 99, "webhook", "kind", "2026-03-04 09:00:00.000000", "2026-03-04 09:00:00.000000"]
    others += [{"state": "Cancelled"}, [{"numbers": "1", "status": "Lost"}], {"what": "x"}, "0" * 64]
    for event in range(count):
        for place, other in enumerate(others):

            def change(files: dict[str, bytes], event: int = event, place: int = place, other: Any = other) -> None:
                rows = layout.read_jsonl(files[EVENTS])
                rows[event][place] = other
                files[EVENTS] = layout.jsonl(rows)

            differences = verify(repacked(raw, change)).differences
            assert any(EVENTS in text for text in differences), (event, place)
            if place > 1:
                assert any(f"event {event + 1} " in text or "cannot be one" in text for text in differences)
    for event in range(count):
        dropped = verify(repacked(raw, lambda files, event=event: drop(files, event))).differences  # type: ignore[misc]
        assert any(f"event {event + 1} does not fit" in text for text in dropped)


def drop(files: dict[str, bytes], event: int) -> None:
    rows = layout.read_jsonl(files[EVENTS])
    files[EVENTS] = layout.jsonl(rows[:event] + rows[event + 1 :])


@pytest.mark.parametrize("masked", [True, False])
def test_whatever_field_of_a_line_is_changed_it_is_named(
    masked_file: bytes, whole_file: bytes, *, masked: bool
) -> None:
    raw = masked_file if masked else whole_file
    for name, value in records(raw, LINES)[1].items():

        def change(files: dict[str, bytes], name: str = name, value: Any = value) -> None:
            rows = layout.read_jsonl(files[LINES])
            rows[1][name] = value + 1 if isinstance(value, int) else f"{value}x"
            files[LINES] = layout.jsonl(rows)

        # What the log does not hold of a line, only the first page and the manifest tell.
        expected = name != "provider_line_id"
        assert bool(verify(repacked(raw, change)).differences) == expected, name


def test_what_the_manifest_or_the_page_say_is_held_against_the_events(masked_file: bytes) -> None:
    raw = masked_file

    def renamed(files: dict[str, bytes]) -> None:
        files[MANIFEST] = files[MANIFEST].replace(b'"made_by": "ann"', b'"made_by": "bob"')

    def other_version(files: dict[str, bytes]) -> None:
        before = layout.manifest_mark(json.loads(files[MANIFEST])).encode()
        files[MANIFEST] = files[MANIFEST].replace(verification.version().encode(), b"fulfillment-tracking 9")
        after = layout.manifest_mark(json.loads(files[MANIFEST])).encode()
        files[PAGE] = files[PAGE].replace(verification.version().encode(), b"fulfillment-tracking 9")
        files[PAGE] = files[PAGE].replace(before, after)
        files[PAGE] = files[PAGE].replace(b"What happened", b"In other words")

    def false_fact(files: dict[str, bytes]) -> None:
        other_version(files)
        files[PAGE] = files[PAGE].replace(
            b'<th scope="row">State</th><td>Completed', b'<th scope="row">State</th><td>Lost'
        )

    def renamed_elsewhere(files: dict[str, bytes]) -> None:
        other_version(files)
        renamed(files)

    assert any("index.html: line" in text for text in verify(repacked(raw, renamed)).differences)
    assert verify(repacked(raw, renamed_elsewhere)).differences == (
        "index.html: says of the file what manifest.json does not",
    )
    newer = verify(repacked(raw, other_version))
    assert newer.differences == ()
    assert "its facts were checked" in newer.caveats[0]
    assert verify(repacked(raw, false_fact)).differences == (
        "index.html: says State is 'Lost', the events say 'Completed'",
    )


def test_a_file_of_an_earlier_version_of_this_format_still_proves_itself() -> None:
    result = verify((Path(__file__).parent / "data" / "evidence-1.zip").read_bytes())
    assert result.differences == ()
    assert result.manifest
    assert (result.manifest["version"], result.manifest["order"]["po_number"]) == (1, "first-format")
    assert result.verdict
    assert result.verdict.startswith("Completed on 2026-03-04")


def test_a_log_that_was_changed_in_the_store_is_handed_out_and_said_not_to_hold(history: History) -> None:
    number = story(history)
    third = EVENTS_TABLE.c.order_id == number, EVENTS_TABLE.c.seq == 3
    history.database.write(
        lambda connection: connection.execute(sa.update(EVENTS_TABLE).where(*third).values(kind="found"))
    )
    file = export_evidence(history.database, number, masked=True, by=ANN, now=history.at)
    fault = "events.jsonl: event 3 (found) does not fit: it or what follows was changed"
    assert file.faults == verify(file.content).differences == (fault,)
    assert b"This log does not hold" in layout.unpack(file.content).files[PAGE]


ANSWER = {"Id": "BLK-1", "PONumber": "po-1", "Status": "Completed"}
LINE = {"ProductId": "CVS", "Value": 10, "Quantity": 1, "Status": "Completed"}


@pytest.mark.parametrize("masked", [True, False])
def test_what_the_provider_answered_is_held_against_the_log_however_the_manifest_was_mended(
    history: History, *, masked: bool
) -> None:
    number = history.place("po-1", lines=3)
    history.accept("po-1")
    whole = ANSWER | {"Id": f"BLK-{number}", "LineItems": [LINE] * 3}
    history.wait(minutes=10)
    snapshot = history.snapshot("po-1", "Completed")
    history.see("po-1", Polled(snapshot), shown=ParsedOrder(snapshot, whole, "digest"))
    call = {"method": "GET", "milliseconds": 3, "outcome": "ok", "status": 200, "at": history.at, "order_id": number}
    call |= {"path": f"/v1/Orders/BLK-{number}", "request": None, "answer": json.dumps(whole)}
    sent = call | {"method": "POST", "path": "/v1/Orders", "request": json.dumps({"PONumber": "po-1"}), "answer": None}
    history.database.write(lambda connection: connection.execute(sa.insert(EXCHANGES), [call, sent]))
    raw = made(history, masked=masked)
    assert verify(raw).differences == ()
    forged = {
        "Status": "Cancelled", "Id": "BLK-9", "PONumber": "po-2", "LineItems": [LINE | {"Value": 90}] * 3,
    }  # fmt: skip
    words = {
        "Status": "the state is",
        "Id": "provider ID",
        "PONumber": "PO number",
        "LineItems": "3 cards worth 270.00",
    }
    for name, value in forged.items():
        false = whole | {name: value}

        def document(files: dict[str, bytes], false: Any = false) -> None:
            files[layout.DOCUMENT] = layout.jsonl([false])

        def answer(files: dict[str, bytes], false: Any = false) -> None:
            first, *others = layout.read_jsonl(files[layout.CALLS])
            files[layout.CALLS] = layout.jsonl([first | {"answer": json.dumps(false)}, *others])

        for change, file in ((document, "document.json: "), (answer, "api-calls.jsonl: line 1 shows what ")):
            [difference] = verify(repacked(raw, change)).differences
            assert difference.startswith(file), name
            assert words[name] in difference, name

    def request(files: dict[str, bytes]) -> None:
        files[layout.CALLS] = files[layout.CALLS].replace(rb"{\"PONumber\": \"po-1\"}", rb"{\"PONumber\": \"po-7\"}")

    [difference] = verify(repacked(raw, request)).differences
    assert difference.startswith("api-calls.jsonl: line 2 asks for an order that is of PO number 'po-7'")


def test_a_state_after_the_end_that_the_log_names_contradicts_nothing(history: History) -> None:
    story(history)
    for status in ("Pending", "Completed", "Pending"):
        history.wait(minutes=1)
        history.look("po-1", status)
        assert verify(made(history)).differences == (), status


def zipped(entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return packed.getvalue()


def manifest_of(events: int, **more: Any) -> bytes:
    order = {"po_number": "po-1", "events": events, "head": None, "newest_event_id": 1}
    values = {"format": layout.FORMAT, "version": 1, "made_at": "x", "made_by": "x", "made_with": "x", "order": order}
    values |= {"signed_in": False, "masked": True, "files": {}, "left_out": {}, "log_head": None}
    return layout.manifest_text(values | more)


NESTED = b"[" * 100_000
GIANT = b'{"x": ' + b"9" * 100_000 + b"}\n"
MANY_NUMBERS = ",".join(["1-999999999"] * 1000)


def claiming(line_changes: list[Any], changes: dict[str, Any] | None = None) -> bytes:
    """A log of one event as somebody may make it up, its hash included."""
    facts = {"po_number": "po-1", "type": "Links", "source": "form", "created_at": "2026-03-04T10:00:00+00:00"}
    times = ["2026-03-04 10:00:00.000000"] * 2
    row = [
        "po-1",
        1,
        "requested",
        "us",
        *times,
        facts | (changes or {}),
        line_changes,
        {},
        event_chain.first_hash("po-1"),
    ]
    return layout.jsonl([row])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x03\x04" + b"\xff" * 5000,
        b"no ZIP at all",
        lambda: zipped({PAGE: b"0" * 100_000_000}),
        zipped({"../../evil": b"x", "/etc/passwd": b"x"}, zipfile.ZIP_STORED),
        lambda: zipped({f"{number}": b"" for number in range(50_000)}, zipfile.ZIP_STORED),
        zipped({MANIFEST: NESTED}, zipfile.ZIP_STORED),
        zipped({MANIFEST: GIANT}, zipfile.ZIP_STORED),
        zipped({MANIFEST: b"\xff\xfe"}, zipfile.ZIP_STORED),
        pack({MANIFEST: manifest_of(1, version=2)}),
        pack({MANIFEST: manifest_of(1, order={})}),
        pack({MANIFEST: manifest_of(1, files={"x": 3, EVENTS: None}), EVENTS: b"{}\n"}),
        pack({MANIFEST: manifest_of(1), EVENTS: NESTED + b"\n", LINES: GIANT}),
        pack({MANIFEST: manifest_of(1), EVENTS: b"[]\n[1]\nnull\n", LINES: b"null\n{}\n"}),
        pack(
            {MANIFEST: manifest_of(1), EVENTS: claiming([{"numbers": MANY_NUMBERS}] * 100), LINES: b'{"number": 1}\n'}
        ),
        pack({MANIFEST: manifest_of(1), EVENTS: claiming([], {"units": [], "created_at": "x" * 10**6})}),
        pack(
            {MANIFEST: manifest_of(1), EVENTS: claiming([], {"value_minor": 10**4000}), **dict.fromkeys(NAMES[4:], b"")}
        ),
        pack({**dict.fromkeys(NAMES, b""), MANIFEST: manifest_of(1, left_out=[]), EVENTS: claiming([])}),
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, 10, 0) + PAGE.encode(),
    ],
)
def test_a_hostile_file_is_refused_or_named_at_once_and_nothing_is_written(
    raw: bytes | Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = raw() if callable(raw) else raw  # the largest are made here, and not by each worker that only collects
    began = time.monotonic()
    assert findings(file)
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


ODD = [
    None, True, -1, 10**30, 1.5, float("nan"), "", "1-5,7", "1-", "\ud800", "<b>", [], [None], {}, {"numbers": "x"},
    "9999-12-31 23:59:59.999999", "2026-03-04T10:00:00", {"numbers": None}, "x" * 1000,
]  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with something odd somewhere in it."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.2:
        return rng.choice(ODD)
    places = sorted(value) if isinstance(value, dict) else range(len(value))
    place = rng.choice(list(places))
    copy = json.loads(json.dumps(value))
    if rng.random() < 0.2:
        del copy[place]
    else:
        copy[place] = mutated(value[place], rng)
    return copy


def test_no_value_in_any_place_breaks_the_verification_or_is_overlooked(whole_file: bytes) -> None:
    rng, original = random.Random(1), layout.unpack(whole_file).files
    for _ in range(300):
        name = rng.choice([MANIFEST, EVENTS, LINES])
        if name == MANIFEST:
            changed = layout.manifest_text(mutated(json.loads(original[name]), rng))
        else:
            rows = layout.read_jsonl(original[name])
            place = rng.randrange(len(rows))
            changed = layout.jsonl([*rows[:place], mutated(rows[place], rng), *rows[place + 1 :]])
        assert findings(pack({**original, name: changed})) or changed == original[name]


def test_an_order_of_many_lines_and_events_stays_small_and_quick(history: History) -> None:
    number = history.place("po-1", lines=500, recipient=RECIPIENT)
    events = [
        Event("still open", Witness.POLL, at := history.wait(seconds=30), at, {"units_fulfilled": 1 + poll // 5},
              {"status": "Pending"}, [{"numbers": str(1 + poll // 5), "status": "Completed", "claims": 1}])
        for poll in range(2500)
    ]  # fmt: skip

    def job(connection: sa.Connection) -> None:
        order = connection.execute(sa.select(ORDERS.c.head, ORDERS.c.event_count).where(ORDERS.c.id == number)).one()
        rows, head = event_chain.event_rows("po-1", order.head, order.event_count, events)
        connection.execute(sa.insert(EVENTS_TABLE), [row | {"order_id": number} for row in rows])
        counted = {"head": head, "event_count": order.event_count + len(rows)}
        connection.execute(sa.update(ORDERS).where(ORDERS.c.id == number).values(counted))
        connection.execute(
            sa.update(LINES_TABLE).where(LINES_TABLE.c.order_id == number).values(status="Completed", claims=1)
        )

    history.database.write(job)
    began = time.monotonic()
    raw = made(history)
    assert verify(raw).differences == ()
    assert len(raw) < 1_500_000
    assert len(layout.unpack(raw).files[PAGE]) < 300_000
    assert time.monotonic() - began < 10


def test_verifying_imports_no_store() -> None:
    program = (
        "import sys, tracking.reports.evidence.verification as v; print(v.version());"
        "print([name for name in sys.modules if name.startswith(('tracking.storage', 'sqlalchemy', 'pandas'))])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
