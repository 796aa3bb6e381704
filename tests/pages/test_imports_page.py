"""The page of imports: each file's orders by what came of them, stopped, resumed, with what is wrong."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import expiry
import pytest
from sqlalchemy import insert, select, update
from streamlit.testing.v1 import AppTest

from tracking.access import Person
from tracking.app.preferences import Preferences
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS
from tracking.storage.team.tables import JOBS
from tracking.submissions.files import CheckedFile, read_csv
from tracking.submissions.submit import submit
from tracking.team import jobs
from tracking.team.imports.handing_in import hand_in
from tracking.team.imports.placing import place_here

Visit = Callable[..., AppTest]
ANN = Person("Ann")

pytestmark = pytest.mark.usefixtures("catalogue")


def wave(count: int, more: str = "") -> CheckedFile:
    text = "PONumber,Type,ProductId,Value,Quantity\n" + "".join(
        f"W-{number:03d},Links,CVS,10,2\n" for number in range(count)
    )
    return read_csv((text + more).encode(), "[wave].csv", catalog=None, chunk=10, now=datetime.now(UTC))


def written(app: AppTest) -> str:
    elements = (*app.markdown, *app.caption, *app.warning, *app.info)
    return "\n".join(element.value for element in elements).replace("\\", "").replace("\u2060", "")


def text_of_progress(app: AppTest) -> str:
    return str(app.get("progress")[0].proto.text)


def test_an_import_shows_how_far_it_is_and_is_stopped_and_resumed(visit: Visit, database: Database) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)
    taken = wave(1, "W-000,Links,CVS,10,1\n").requests
    submit(database, taken, source="form", by=ANN, now=start)
    blind = wave(400)
    with pytest.raises(Exception, match="other lines"):
        hand_in(database, blind, source="csv", by=ANN, now=start)
    database.write(lambda connection: connection.execute(update(ORDERS).values(po_number="x", po_folded="x")))
    job = hand_in(database, blind, source="csv", by=ANN, now=start).job_id
    database.write(lambda connection: connection.execute(update(ORDERS).values(po_number="W-000", po_folded="w-000")))
    for step in range(6):
        database.write(partial(place_here, job_id=job, now=start + timedelta(seconds=40 * (step + 1))))
    reasons = {"attention": "cancelled", "attention_reason": "cancelled", "state": "Cancelled"}
    some = ORDERS.c.po_number.in_(("W-001", "W-002"))
    database.write(lambda connection: connection.execute(update(ORDERS).where(some).values(reasons)))
    app = visit("imports", **{"import": "1"})
    assert not app.exception
    shown = written(app)
    assert app.header[0].value.replace("\\", "") == "[wave].csv"
    assert text_of_progress(app) == "300 of 400 orders of the file processed"
    assert "No worker is running, so no orders are made." in shown
    assert "At the pace so far all orders are made between" in shown
    lines = {*shown.split("\n")}
    assert {"**100**", "**299**", "**1**", "**297**", "**2**", "5,980.00 USD · 0 of 598 cards fulfilled"} <= lines
    problems = app.table[0].value.to_dict("records")
    assert [(row["Orders"], row["What"]) for row in problems] == [("1", "Rejected"), ("2", "Needs a decision")]
    assert problems[0]["Problem"].replace("\\", "").startswith("PO number is already an order with other lines")
    links = {link.proto.label: link.proto.query_string for link in app.page_link}
    assert links["Needs a decision"] == "import=1&view=attention"
    rows = app.dataframe[0].value
    assert (len(rows), rows["outcome"][0], rows["outcome"][1], rows["rows"][0]) == (
        25,
        ["Rejected"],
        ["Order created"],
        "2",
    )
    database.write(lambda connection: facts.set_fact(connection, "beat:jobs", {}, datetime.now(UTC)))
    assert (links["Queued, not sent yet"], "Stop does not take them back" in shown) == ("import=1&state=Queued", True)
    app.session_state["preferences"] = Preferences(name="Bob")
    app.button(key="stop_import").click().run()
    assert not app.exception
    assert "by Bob. 100 orders wait; Resume goes on." in written(app)
    app.button(key="stop_import").click().run()
    with database.read() as connection:
        assert connection.execute(select(JOBS.c.state, JOBS.c.changed_by)).one() == ("running", "Bob")
    expiry.expire()
    assert "When the last order is made: too early to say." in written(app.run())  # the pace before the pause is over
    while database.write(partial(place_here, job_id=job, now=datetime.now(UTC))):
        pass
    expiry.expire()
    assert "All were processed here by" in written(app.run())
    assert not [each for each in app.button if each.key == "stop_import"]
    app.query_params["outcome"] = "rejected"
    assert app.run().dataframe[0].value["order"].tolist() == ["W-000"]
    assert app.switch_page("orders.py").run()  # the list by import
    orders = visit("orders", **{"import": "1"})
    assert "Import 1" in [button.label.replace("\\", "") for button in orders.button]


def test_what_waits_of_a_stopped_import_is_discarded_once_its_meaning_was_read(
    visit: Visit, database: Database
) -> None:
    now = datetime.now(UTC)
    job = hand_in(database, wave(60), source="csv", by=ANN, now=now).job_id
    database.write(partial(place_here, job_id=job, now=now))
    assert not [each for each in visit("imports", **{"import": "1"}).button if each.key == "discard_import"]
    jobs.stop(database, job, by=ANN, now=now)
    expiry.expire()
    app = visit("imports", **{"import": "1"})
    app.session_state["preferences"] = Preferences(name="Bob")
    app.button(key="discard_import").click().run()
    assert "**10 orders** of this file will not be made." in written(app)
    app.button(key="discard_import").click()
    app.button(key="discard_submit").click().run()
    assert not app.exception
    assert "10 orders of this file will not be made: what waited was discarded." in written(app)
    assert not [each for each in app.button if each.key in {"discard_import", "stop_import"}]
    assert ["Discarded"] in app.dataframe[0].value["outcome"].tolist() or "**10**" in written(app)
    assert visit("imports").dataframe[0].value["state"].tolist() == [["Discarded"]]


def test_files_are_listed_those_of_earlier_versions_without_rows(visit: Visit, database: Database) -> None:
    now = datetime.now(UTC)
    assert "Nothing was imported yet." in written(visit("imports"))
    earlier = {"digest": "d", "name": "old.csv", "rows": 7, "orders": 2, "created_at": now, "actor": "Cid"}
    database.write(lambda connection: connection.execute(insert(BATCHES), earlier))
    hand_in(database, wave(5), source="csv", by=ANN, now=now)
    app = visit("imports")
    frame = app.dataframe[0].value
    assert frame["file"].tolist() == ["[wave].csv", "old.csv"]
    assert frame["state"].tolist() == [["Making orders"], ["Orders only"]]
    assert frame["share"].tolist() == [0, 100]
    old = visit("imports", **{"import": "1"})
    assert not old.exception
    assert "Of this file its orders alone are recorded" in written(old)
    for asked in ("abc", "-1", "9" * 20):
        assert (
            "is no number of this kind: all imports are shown" in visit("imports", **{"import": asked}).warning[0].value
        )
    gone = visit("imports", **{"import": "99"})
    assert gone.error[0].value.replace("\\", "") == "- there is no import 99"
