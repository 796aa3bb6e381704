"""A file's orders are rows of one import from when it is handed in, and each is placed once, whatever comes between."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from tracking.access import Access, Person
from tracking.errors import InvalidSubmission, NotAllowed, NotPermitted, UnknownImport
from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.reports.team import imports as import_reports
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import BATCHES, ORDERS, OUTBOX
from tracking.storage.team import approval_rule
from tracking.storage.team.tables import AUDIT_LOG, IMPORT_ROWS, JOBS
from tracking.submissions import actions, results
from tracking.submissions.files import CheckedFile, SimilarFile, read_csv
from tracking.submissions.submit import place_group, submit
from tracking.team import approval, jobs
from tracking.team.imports import handing_in
from tracking.team.imports.discarding import discard
from tracking.team.imports.handing_in import HandedIn, hand_in, submit_file
from tracking.team.imports.placing import place_here

ANN, BOB = Person("Ann"), Person("bob@example.com", signed_in=True)
HEADER = "Type,ProductId,Value,Quantity,PONumber\n"


def wave(store: Database, now: datetime, *po_numbers: str, more: str = "", chunk: int = 1000) -> CheckedFile:
    text = HEADER + "".join(f"Links,CVS,10,1,{number}\n" for number in po_numbers) + more
    return read_csv(text.encode(), "wave.csv", catalog=None, chunk=chunk, now=now, database=store)


def numbers(count: int) -> tuple[str, ...]:
    return tuple(f"po-{number:03d}" for number in range(count))


def handed_in(store: Database, checked: CheckedFile, now: datetime, by: Person = ANN) -> HandedIn:
    return hand_in(store, checked, source="csv", by=by, now=now)


def place_all(store: Database, job_id: int, now: datetime) -> list[int]:
    steps = []
    while rows := store.write(partial(place_here, job_id=job_id, now=now)):
        steps.append(rows)
    return steps


def outcomes(store: Database) -> Counter[str]:
    with store.read() as connection:
        return Counter(connection.execute(select(IMPORT_ROWS.c.outcome)).scalars())


def job(store: Database) -> Any:
    with store.read() as connection:
        return connection.execute(select(JOBS)).mappings().one()


def total(store: Database, table: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_file_waits_as_rows_and_becomes_orders_group_by_group(store: Database, now: datetime) -> None:
    checked = wave(store, now, *numbers(120))
    first = handed_in(store, checked, now, BOB)
    assert (outcomes(store), total(store, ORDERS)) == ({"waiting": 120}, 0)
    started = job(store)
    assert (started["act"], started["state"], started["total"]) == ("import", "running", 120)
    assert (started["person"], started["signed_in"], started["parameters"]["batch_id"]) == (
        BOB.name, True, first.batch_id,
    )  # fmt: skip
    assert place_all(store, first.job_id, now) == [50, 50, 20]
    ended = job(store)
    assert (ended["state"], ended["done"], ended["skipped"], ended["finished_at"]) == ("finished", 120, 0, now)
    with store.read() as connection:
        rows = connection.execute(select(IMPORT_ROWS).order_by(IMPORT_ROWS.c.number)).mappings().all()
        orders = {row.id: row for row in connection.execute(select(ORDERS))}
        [entry] = connection.execute(select(AUDIT_LOG)).mappings().all()
    assert {(row["outcome"], row["request"]) for row in rows} == {("queued", None)}
    assert [orders[row["order_id"]].po_number for row in rows] == list(numbers(120))
    assert {(order.actor, order.source, order.batch_id) for order in orders.values()} == {
        (BOB.name, "csv", first.batch_id)
    }
    assert (entry["kind"], entry["person"], entry["job_id"]) == ("imported", BOB.name, first.job_id)
    assert entry["detail"] == {"import": first.batch_id, "orders": 120}
    assert verify(store) == []


def test_a_group_that_is_cut_off_leaves_nothing_and_is_placed_once(store: Database, now: datetime) -> None:
    first = handed_in(store, wave(store, now, *numbers(80)), now)
    store.write(partial(place_here, job_id=first.job_id, now=now))

    def cut_off(connection: Connection) -> None:
        place_here(connection, first.job_id, now)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(cut_off)
    assert (outcomes(store), total(store, ORDERS)) == ({"queued": 50, "waiting": 30}, 50)
    receipts = submit_file(store, wave(store, now, *numbers(80)), source="csv", by=ANN, now=now)
    assert Counter(receipt.outcome for receipt in receipts) == {"exists": 50, "queued": 30}
    assert total(store, ORDERS) == total(store, OUTBOX) == 80
    assert (total(store, BATCHES), total(store, JOBS)) == (1, 1)


def test_several_that_place_the_same_import_at_once_place_each_order_once(store: Database, now: datetime) -> None:
    checked = wave(store, now, *numbers(230))
    with ThreadPoolExecutor(3) as pool:
        imports = list(pool.map(lambda by: handed_in(store, checked, now, by), (ANN, BOB, ANN)))
        assert len({each.job_id for each in imports}) == 1
        steps = list(pool.map(lambda each: place_all(store, each.job_id, now), imports))
    assert sum(map(sum, steps)) == 230 == job(store)["done"] == total(store, ORDERS)
    assert (outcomes(store), total(store, AUDIT_LOG)) == ({"queued": 230}, 1)
    assert verify(store) == []


def test_what_became_wrong_meanwhile_is_rejected_and_tried_again_with_the_file(store: Database, now: datetime) -> None:
    checked = wave(store, now, "a", "b", "c")
    first = handed_in(store, checked, now)
    taken = wave(store, now, "a", more="Links,CVS,10,2,a\n").requests
    same = wave(store, now, "b").requests
    with pytest.raises(InvalidSubmission, match="waits to be placed"):
        submit(store, taken, source="form", by=BOB, now=now)
    besides: Any = {"source": "form", "actor": BOB.name, "now": now, "catalog": None}
    store.write(partial(place_group, group=[*taken, *same], **besides))
    place_all(store, first.job_id, now)
    assert outcomes(store) == {"rejected": 1, "exists": 1, "queued": 1}
    assert (job(store)["done"], job(store)["skipped"], job(store)["skipped_why"]) == (2, 1, {"rejected": 1})
    frame = results.outcome_rows(store, first.batch_id)
    assert frame["state"].tolist() == ["not sent", "Queued", "Queued"]
    assert frame["message"].tolist()[0].startswith("a is already an order with other lines (Queued)")
    store.write(lambda connection: connection.execute(update(ORDERS).values(po_number=ORDERS.c.po_number + "-old")))
    store.write(lambda connection: connection.execute(update(ORDERS).values(po_folded=ORDERS.c.po_number)))
    later = now + timedelta(hours=1)
    receipts = submit_file(store, checked, source="csv", by=BOB, now=later)
    assert [receipt.outcome for receipt in receipts] == ["queued", "exists", "exists"]
    again = job(store)
    assert (again["done"], again["skipped"], again["skipped_why"]) == (3, 0, {})
    assert (again["changed_by"], again["changed_at"], again["state"]) == (BOB.name, later, "finished")
    assert total(store, AUDIT_LOG) == 2


def test_a_stopped_import_places_nothing_and_goes_on_when_handed_in_again(store: Database, now: datetime) -> None:
    checked = wave(store, now, *numbers(60))
    first = handed_in(store, checked, now)
    place_here_once = partial(place_here, job_id=first.job_id, now=now)
    store.write(place_here_once)
    store.write(lambda connection: connection.execute(update(JOBS).values(state="stopped")))
    assert store.write(place_here_once) == 0
    assert outcomes(store) == {"queued": 50, "waiting": 10}
    assert results.outcome_rows(store, first.batch_id)["state"].tolist() == ["Queued"] * 50 + ["not sent"] * 10
    submit_file(store, checked, source="csv", by=BOB, now=now)
    assert (outcomes(store), job(store)["state"]) == ({"queued": 60}, "finished")


def test_rows_that_wait_are_taken_for_other_files_and_split_as_they_were(store: Database, now: datetime) -> None:
    without = "Links,CVS,10,1,\n" * 12
    handed_in(store, wave(store, now, more=without, chunk=6), now)
    with pytest.raises(InvalidSubmission, match="split into other orders"):
        handed_in(store, wave(store, now, more=without, chunk=7), now)
    assert wave(store, now, more=f"{without}Links,CVS,25,1,\n").similar_file == SimilarFile("wave.csv", now, 12)
    handed_in(store, wave(store, now, "Mine-1"), now)
    blind = wave(store, now, "new", "mine-1")
    assert [str(problem) for problem in blind.problems] == [
        "row 3, PONumber: mine-1 waits to be placed from the file wave.csv; take it out, or give it another PONumber"
    ]
    unaware = read_csv(f"{HEADER}Links,CVS,10,1,MINE-1\n".encode(), "b.csv", catalog=None, chunk=9, now=now)
    with pytest.raises(InvalidSubmission, match=r"waits to be placed from the file wave\.csv"):
        handed_in(store, unaware, now)


def test_a_group_has_no_more_lines_than_the_writer_can_take(store: Database, now: datetime) -> None:
    lines = "".join("Links,CVS,10,1,big-1\n" * 1500) + "".join("Links,CVS,10,1,big-2\n" * 600)
    first = handed_in(store, wave(store, now, "a", more=lines), now)
    assert place_all(store, first.job_id, now) == [2, 1]
    with store.read() as connection:
        assert connection.execute(select(IMPORT_ROWS.c.first_row, IMPORT_ROWS.c.last_row)).all() == [
            (2, 2), (3, 1502), (1503, 2102),
        ]  # fmt: skip


@pytest.mark.parametrize("way", ["handed in again", "resumed"])
def test_whoever_lets_a_stopped_import_go_on_cannot_approve_its_orders(
    store: Database, now: datetime, way: str
) -> None:
    ann, eve = Person("ann@example.com", signed_in=True), Person("eve@example.com", signed_in=True)
    approval_rule.enforce(store, ApprovalLimit.parse("5"), now)
    checked = wave(store, now, *numbers(60))
    first = handed_in(store, checked, now, ann)
    store.write(partial(place_here, job_id=first.job_id, now=now))
    jobs.stop(store, first.job_id, by=ann, now=now)
    if way == "resumed":
        jobs.resume(store, first.job_id, by=BOB, now=now)
    else:
        handed_in(store, checked, now, BOB)
    place_all(store, first.job_id, now)
    with store.read() as connection:
        placed = connection.execute(select(ORDERS.c.actor).order_by(ORDERS.c.id)).scalars().all()
    assert placed == [ann.name] * 50 + [BOB.name] * 10
    assert (job(store)["person"], job(store)["signed_in"]) == (BOB.name, True)
    with pytest.raises(NotAllowed, match="you submitted this order"):
        approval.approve(store, "po-055", by=BOB, now=now)
    with pytest.raises(NotAllowed, match="you submitted this order"):
        approval.approve(store, "po-005", by=ann, now=now)
    approval.approve(store, "po-055", by=eve, now=now)
    approval.approve(store, "po-005", by=BOB, now=now)
    assert verify(store) == []


def cut_off(store: Database, checked: CheckedFile, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand the file in by a process that is killed before it starts the job."""

    def killed(*_: Any, **__: Any) -> int:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(handing_in, "_start", killed)
        with pytest.raises(ZeroDivisionError):
            handed_in(store, checked, now, BOB)


def entries(store: Database) -> list[tuple[str, str, int | None, dict[str, Any]]]:
    with store.read() as connection:
        rows = connection.execute(select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).mappings()
        return [(row["person"], row["kind"], row["job_id"], row["detail"]) for row in rows]


def state(store: Database) -> tuple[str, int, int, int]:
    [line] = import_reports.imports(store)[0]
    return line.state.value, line.placed, line.discarded, line.waiting


def test_rows_of_an_interrupted_upload_hold_no_po_number_and_can_be_discarded(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = wave(store, now, *numbers(60))
    cut_off(store, checked, now, monkeypatch)
    assert (outcomes(store), state(store), entries(store)) == ({"waiting": 60}, ("uploading", 0, 0, 60), [])
    others = wave(store, now, "po-000", "other")
    assert others.problems == ()
    [receipt] = submit(store, wave(store, now, "po-001").requests, source="form", by=BOB, now=now)
    assert receipt.outcome == "queued", "what the form places, no file of nobody keeps from it"
    with pytest.raises(NotPermitted):
        discard(store, 1, by=Person("vi@example.com", Access.VIEWER), now=now)
    with pytest.raises(UnknownImport, match="no import 9"):
        discard(store, 9, by=BOB, now=now)
    assert discard(store, 1, by=BOB, now=now) == 60
    assert entries(store)[-1] == (BOB.name, "import discarded", None, {"import": 1, "orders": 60})
    assert state(store) == ("discarded", 0, 0, 0)
    with store.read() as connection:
        assert set(connection.execute(select(IMPORT_ROWS.c.request, IMPORT_ROWS.c.outcome))) == {(None, "discarded")}
    assert set(results.outcome_rows(store, 1)["message"]) == {"discarded before it was placed"}
    with pytest.raises(NotAllowed, match="none of its orders waits"):
        discard(store, 1, by=BOB, now=now)
    receipts = submit_file(store, checked, source="csv", by=BOB, now=now)
    assert Counter(receipt.outcome for receipt in receipts) == {"queued": 59, "exists": 1}
    assert state(store) == ("placed", 60, 0, 0)
    assert verify(store) == []


def test_what_waits_of_a_stopped_import_is_discarded_and_waits_again_with_its_file(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = wave(store, now, *numbers(60))
    first = handed_in(store, checked, now)
    store.write(partial(place_here, job_id=first.job_id, now=now))
    with pytest.raises(NotAllowed, match="being placed; stop it first"):
        discard(store, first.batch_id, by=BOB, now=now)
    jobs.stop(store, first.job_id, by=ANN, now=now)
    with pytest.raises(InvalidSubmission, match=r"waits to be placed from the file wave\.csv"):
        submit(store, wave(store, now, "po-055").requests, source="form", by=BOB, now=now)
    later = now + timedelta(hours=1)
    assert discard(store, first.batch_id, by=BOB, now=later) == 10
    ended = job(store)
    assert (ended["state"], ended["finished_at"], ended["changed_by"]) == ("finished", later, BOB.name)
    assert (ended["done"], ended["skipped"], ended["skipped_why"]) == (50, 10, {"discarded": 10})
    assert entries(store)[-1][:3] == (BOB.name, "import discarded", first.job_id)
    assert state(store) == ("discarded", 50, 10, 0)
    with pytest.raises(NotAllowed, match="the job is complete"):
        jobs.resume(store, first.job_id, by=BOB, now=later)
    cut_off(store, checked, later, monkeypatch)
    assert (outcomes(store), state(store)[0]) == ({"queued": 50, "waiting": 10}, "uploading")
    submit_file(store, checked, source="csv", by=BOB, now=later)
    assert (state(store), job(store)["skipped_why"], total(store, OUTBOX)) == (("placed", 60, 0, 0), {}, 60)
    assert verify(store) == []


def test_an_import_that_is_discarded_and_handed_in_at_once_is_one_or_the_other(store: Database, now: datetime) -> None:
    checked = wave(store, now, *numbers(20))
    first = handed_in(store, checked, now)
    jobs.stop(store, first.job_id, by=ANN, now=now)

    def give_up(_: int) -> int:
        try:
            return discard(store, first.batch_id, by=BOB, now=now)
        except NotAllowed:
            return 0

    with ThreadPoolExecutor(3) as pool:
        counts = pool.map(give_up, range(2))
        placed = pool.submit(submit_file, store, checked, source="csv", by=ANN, now=now)
        gone = sum(counts)
        placed.result()
    assert gone in {0, 20}
    assert outcomes(store).total() == 20
    assert outcomes(store)["queued"] == total(store, ORDERS) == total(store, OUTBOX)
    assert outcomes(store)["waiting"] == 0
    assert sum(kind == "import discarded" for _, kind, *_ in entries(store)) == (1 if gone else 0)
    assert verify(store) == []


def test_an_order_is_not_placed_anew_under_a_po_number_that_waits(store: Database, now: datetime) -> None:
    submit(store, wave(store, now, "taken").requests, source="form", by=BOB, now=now)
    handed_in(store, wave(store, now, "Mine-2"), now)
    with pytest.raises(NotAllowed, match="mine-2 waits to be placed from the file"):
        actions.place_anew(store, "taken", "mine-2", by=BOB, now=now, wants_both=True)
