from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import histories
import pytest
from fakes import order_json, request
from histories import History
from pages.conftest import page_links
from streamlit.testing.v1 import AppTest

from tracking import ingest
from tracking.errors import StoreBusy
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted, Polled
from tracking.provider import call_log
from tracking.provider.responses import read_order
from tracking.settings import load
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.submissions import actions

Visit = Callable[..., AppTest]


def said(app: AppTest) -> str:
    kinds = (app.markdown, app.text, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_without_an_order_it_leads_to_the_list(visit: Visit) -> None:
    app = visit("order")
    assert [link.label for link in page_links(app)] == ["Go to the list of orders"]


def test_an_unknown_order_is_told_and_the_search_is_offered(visit: Visit) -> None:
    app = visit("order", order="NOT-HERE")
    assert not app.exception
    assert "No order has the id" in app.warning[-1].value
    assert "NOT-HERE" in said(app)
    assert "q=NOT-HERE" in page_links(app)[0].proto.query_string


@pytest.mark.parametrize("wanted", ["FT-1", "BLK-1", " ft-1"])
def test_an_order_shows_its_verdict_and_story(visit: Visit, history: History, wanted: str) -> None:
    history.place("FT-1", recipient="ann@example.com")
    history.complete("FT-1")
    app = visit("order", order=wanted)
    assert not app.exception
    assert [code.value for code in app.code][:2] == ["FT-1", "BLK-1"]
    assert "Completed 10 s to 11 min" in app.container(key="verdict").markdown[0].value
    assert "Detected 0 s to 10 min after completion" in app.container(key="evidence").caption[-1].value
    assert "Accepted as BLK\\-1" in app.container(key="story").markdown[0].value
    assert len(app.get("plotly_chart")) == 1
    assert "ann@example.com" not in said(app)
    assert app.dataframe[0].value["recipient"].tolist() == ["a***@example.com"]


def test_what_is_not_possible_says_why(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("order", order="FT-1")
    check, resend = app.button(key="check_now"), app.button(key="resend")
    assert check.disabled
    assert resend.disabled
    assert "nothing to poll" in check.help
    assert "can be resent" in resend.help


def test_check_now_is_written_into_the_story(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    app.text_input(key="actor").set_value("Bea")
    app.button(key="check_now").click().run()
    assert not app.exception
    assert "Bea requested a poll" in app.container(key="story").markdown[0].value


def test_an_unknown_outcome_can_be_sent_again_under_its_number(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.lose("FT-1")
    app = visit("order", order="FT-1")
    assert not app.button(key="resend").disabled
    app.button(key="resend").click().run()
    assert not app.exception
    assert "requested a resend" in app.container(key="story").markdown[0].value


def test_an_order_whose_po_number_is_anothers_can_be_placed_anew_once_both_are_wanted(
    visit: Visit, history: History
) -> None:
    asked = request("FT-1")
    history.numbers["FT-1"] = history.database.write(
        lambda connection: ingest.place(connection, asked, source="form", actor="Ann", now=history.at)
    )
    history.see("FT-1", Attempted(1), Witness.US)
    other = history.snapshot("FT-1", "Pending", [Line(1, "CVS", 9900, 1)])
    history.see("FT-1", Answered(other, adopted=True), Witness.ANSWER)
    app = visit("order", order="FT-1")
    app.button(key="anew_submit").click().run()
    assert "both are wanted" in app.error[-1].value
    app.checkbox(key="anew_both").check()
    app.text_input(key="anew_po_number").set_value("FT-1-B")
    app.button(key="anew_submit").click().run()
    assert not app.exception
    assert r"placed this anew as FT\-1\-B" in app.container(key="story").markdown[0].value
    assert r"placed this for FT\-1" in visit("order", order="FT-1-B").container(key="story").markdown[0].value


def test_acknowledging_takes_the_order_off_the_list(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    assert "refused" in app.error[0].value
    app.text_area(key="acknowledge_text").set_value("placed anew by phone")
    app.button(key="acknowledge_submit").click().run()
    assert not app.exception
    assert not app.error
    assert [toast.value for toast in app.toast] == ["Acknowledged."]
    assert "placed anew by phone" in said(app)
    popover = next(block for block in app.get("popover") if block.proto.popover.label == "Acknowledge")
    assert popover.proto.popover.disabled
    assert "placed anew by phone" in popover.proto.popover.help


def test_nothing_is_acknowledged_where_nothing_needs_a_person(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("order", order="FT-1")
    [acknowledge, note] = [
        block.proto.popover for block in app.get("popover") if block.proto.popover.label in {"Acknowledge", "Note"}
    ]
    assert (acknowledge.disabled, note.disabled) == (True, False)
    assert "Nothing about this order needs a person" in acknowledge.help


@pytest.mark.parametrize("text", ["", "  \n ", "\u200b"])
@pytest.mark.parametrize("key", ["note", "acknowledge"])
def test_an_empty_reason_is_told_and_the_page_stays(visit: Visit, history: History, key: str, text: str) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    app.text_area(key=f"{key}_text").set_value(text)
    app.button(key=f"{key}_submit").click().run()
    assert not app.exception
    [told] = [box for box in app.error if "Nothing was" in f"{box.proto.title}{box.value}"]
    assert "sent" not in f"{told.proto.title}{told.value}"
    assert app.container(key="story").markdown
    assert len(app.get("plotly_chart")) == 1
    assert len(app.dataframe) == 1
    assert "Calls of the provider's API for this order" in [box.label for box in app.expander]


def test_an_act_that_fails_is_told_and_the_page_stays(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_named: object) -> None:
        raise StoreBusy("the database is locked")

    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    monkeypatch.setattr(actions, "check_now", fails)
    app.button(key="check_now").click().run()
    assert app.error[0].proto.title == "The database is busy"
    assert not app.toast
    assert app.container(key="story").markdown


def links(app: AppTest) -> list[str]:
    return [link.label for link in page_links(app)]


def test_the_way_through_the_list_is_in_the_address(visit: Visit, history: History) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
        history.refuse(name)
    app = visit("order", order="A-2", list="view=attention&sort=po+number")
    assert links(app) == ["Previous", "Next", "Back to the list"]
    before, after, back = (link.proto.query_string for link in page_links(app))
    assert "order=A-3" in before
    assert "order=A-1" in after
    assert "list=view" in before
    assert set(back.split("&")) == {"view=attention", "sort=po+number"}
    app.text_area(key="acknowledge_text").set_value("placed anew")
    app.button(key="acknowledge_submit").click().run()
    assert [link.proto.query_string for link in page_links(app)] == [before, after, back]
    assert links(visit("order", order="A-2")) == []


def drawn(app: AppTest) -> str:
    return str(app.get("plotly_chart")[0].proto.spec)


def test_the_chart_stays_as_it_is_until_something_else_than_a_look_comes(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC) - timedelta(minutes=5)
    history.place("FT-1")
    history.accept("FT-1")
    history.look("FT-1", "Pending")
    app = visit("order", order="FT-1")
    first = drawn(app)
    for _ in range(3):
        history.wait(seconds=5)
        history.look("FT-1", "Pending")
    app.run()
    assert "4 polls, all Pending" in app.container(key="story").markdown[0].value
    assert drawn(app) == first
    history.wait(seconds=5)
    history.look("FT-1", "Processing")
    app.run()
    assert drawn(app) != first


def test_the_chart_of_an_open_order_is_drawn_anew_after_a_minute(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("order", order="FT-1")
    first = drawn(app)
    app.session_state["timeline_figure"]["at"] -= timedelta(seconds=61)
    assert drawn(app.run()) != first


def test_a_fact_learned_late_stands_where_it_happened_with_both_times(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC) - timedelta(minutes=30)
    history.announce("OUT-1")
    came = history.at
    history.wait(minutes=10)
    history.find_open("OUT-1")
    rows = visit("order", order="OUT-1").container(key="story").markdown[0].value.replace("\\", "").split("\n")
    notice = next(row for row in rows if "complete (awaiting" in row)
    assert notice.startswith(f"- {came:%H:%M:%S}")
    assert f"(learned {history.at:%H:%M:%S})" in notice


def test_calls_are_shown_line_by_line(visit: Visit, history: History, database: Database) -> None:
    number = history.place("FT-1")
    call = {"at": history.at, "method": "POST", "path": "/v1/Orders", "status": 201, "milliseconds": 5, "outcome": "ok"}
    row = call | {"order_id": number, "request": '{"PONumber": "FT-1"}', "answer": '{"Id": "BLK-1"}'}
    database.write(lambda connection: call_log.store_api_calls(connection, [row]))
    app = visit("order", order="FT-1")
    app.session_state["exchanges"] = True
    codes = [code.value for code in app.run().code]
    assert codes[-2:] == ['{\n  "PONumber": "FT-1"\n}', '{\n  "Id": "BLK-1"\n}']


def test_everything_shows_each_event(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    for _ in range(5):
        history.wait(seconds=1)
        history.look("FT-1", "Pending")
    app = visit("order", order="FT-1")
    app.session_state["zoom"] = "Everything"
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 8


def test_many_lines_come_in_pages(visit: Visit, history: History) -> None:
    history.place("BULK-1", lines=250)
    history.complete("BULK-1")
    app = visit("order", order="BULK-1")
    assert not app.exception
    assert len(app.dataframe[0].value) == 100
    assert app.get("progress")[0].proto.text == "250 of 250 cards fulfilled"


def test_a_watched_order_shows_its_new_state(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    assert "Pending" in said(app)
    history.wait(seconds=5)
    history.look("FT-1", "Completed")
    app.run()
    assert "Completed 0 to" in said(app)


@pytest.fixture
def claimed(history: History, monkeypatch: pytest.MonkeyPatch) -> History:
    """FT-1 with a line of two units, whose claim data a look has shown and later shown anew."""
    vault = ClaimCipher(load().claims_keys())
    monkeypatch.setattr(histories, "PLANNER", replace(histories.PLANNER, cipher=vault))
    history.place("FT-1", lines=2)
    history.complete("FT-1")
    for name in ("first", "second"):
        raw = order_json("BLK-1", "FT-1", "Completed", *[{"ProductId": "CVS", "Value": 10, "Quantity": 1}] * 2)
        raw["LineItems"][1]["ClaimData"] = [{"ClaimLink": f"https://claim.example/{name}"}]
        shown = read_order(raw)
        history.wait(seconds=1)
        history.see("FT-1", Polled(shown.snapshot), shown=shown)
    return history


def opened(visit: Visit) -> AppTest:
    """The page with the claim data's box open, as a click on it leaves it."""
    app = visit("order", order="FT-1")
    app.session_state["claims"] = True
    return app.run()


def codes(app: AppTest) -> list[str]:
    return [str(code.value) for code in app.code]


def test_claim_data_is_revealed_by_one_act_and_gone_with_the_next(visit: Visit, claimed: History) -> None:
    app = opened(visit)
    assert not any("claim.example" in code for code in codes(app))
    app.text_input(key="actor").set_value("Bea")
    app.number_input(key="claims_line_1").set_value(2).run()
    app.button(key="reveal").click().run()
    assert not app.exception
    assert "https://claim.example/second" in codes(app)
    assert "written into the order's story" in said(app)
    assert "1 other version" in said(app)
    assert "claim.example" not in f"{said(app)} {app.session_state!r} {app.query_params}"
    app.run()
    assert not any("claim.example" in code for code in codes(app))
    assert "Bea revealed the claim data of unit 1 of line 2" in said(app).replace("\\", "")


def test_an_earlier_version_can_be_picked(visit: Visit, claimed: History) -> None:
    app = opened(visit)
    app.text_input(key="actor").set_value("Bea")
    app.number_input(key="claims_line_1").set_value(2).run()
    app.selectbox(key="claims_version_1_2").set_value(1).run()
    app.button(key="reveal").click().run()
    assert "https://claim.example/first" in codes(app)


def test_somebody_else_sees_nothing_of_what_is_revealed(visit: Visit, claimed: History) -> None:
    app = opened(visit)
    app.text_input(key="actor").set_value("Bea")
    app.button(key="reveal").click().run()
    assert any("claim.example" in code for code in codes(app))
    assert not any("claim.example" in code for code in codes(opened(visit)))


def test_claim_data_that_no_key_opens_is_told_and_no_crash(visit: Visit, claimed: History, tmp_path: Path) -> None:
    (tmp_path / "claims.key").unlink()
    app = opened(visit)
    app.text_input(key="actor").set_value("Bea")
    app.button(key="reveal").click().run()
    assert not app.exception
    assert "TRACKING\\_CLAIMS\\_KEY" in app.error[0].value
    assert "revealed" not in said(app.run())
