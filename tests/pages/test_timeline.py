from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import histories
import pytest
from fakes import order_json, request
from histories import History
from streamlit.testing.v1 import AppTest

from tracking import ingest
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted, Polled
from tracking.provider.responses import read_order
from tracking.settings import load
from tracking.storage.claims import ClaimCipher

Visit = Callable[..., AppTest]


def said(app: AppTest) -> str:
    kinds = (app.markdown, app.text, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_without_an_order_it_leads_to_the_list(visit: Visit) -> None:
    app = visit("timeline")
    assert [link.label for link in app.page_link] == ["Go to the list of orders"]


def test_an_unknown_order_is_told_and_the_search_is_offered(visit: Visit) -> None:
    app = visit("timeline", order="NOT-HERE")
    assert not app.exception
    assert "No order has the id" in app.warning[-1].value
    assert "NOT-HERE" in said(app)
    assert "q=NOT-HERE" in app.page_link[0].proto.query_string


@pytest.mark.parametrize("wanted", ["FT-1", "BLK-1", " ft-1"])
def test_an_order_shows_its_verdict_and_story(visit: Visit, history: History, wanted: str) -> None:
    history.place("FT-1", recipient="ann@example.com")
    history.complete("FT-1")
    app = visit("timeline", order=wanted)
    assert not app.exception
    assert [code.value for code in app.code][:2] == ["FT-1", "BLK-1"]
    assert "Completed within 10 min" in app.container(key="verdict").markdown[0].value
    assert "Known 0 s to 10 min after it was done" in app.container(key="evidence").caption[-1].value
    assert "The provider took the order as BLK\\-1" in app.container(key="story").markdown[0].value
    assert len(app.get("plotly_chart")) == 1
    assert "ann@example.com" not in said(app)
    assert app.dataframe[0].value["recipient"].tolist() == ["a***@example.com"]


def test_what_is_not_possible_says_why(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("timeline", order="FT-1")
    check, resend = app.button(key="check_now"), app.button(key="resend")
    assert check.disabled
    assert resend.disabled
    assert "nothing to ask for" in check.help
    assert "can be sent again" in resend.help


def test_check_now_is_written_into_the_story(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("timeline", order="FT-1")
    app.text_input(key="actor").set_value("Bea")
    app.button(key="check_now").click().run()
    assert not app.exception
    assert "Bea asked to look now" in app.container(key="story").markdown[0].value


def test_an_unknown_outcome_can_be_sent_again_under_its_number(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.lose("FT-1")
    app = visit("timeline", order="FT-1")
    assert not app.button(key="resend").disabled
    app.button(key="resend").click().run()
    assert not app.exception
    assert "asked to send the order again" in app.container(key="story").markdown[0].value


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
    app = visit("timeline", order="FT-1")
    app.button(key="anew_submit").click().run()
    assert "both are wanted" in app.error[-1].value
    app.checkbox(key="anew_both").check()
    app.text_input(key="anew_po_number").set_value("FT-1-B")
    app.button(key="anew_submit").click().run()
    assert not app.exception
    assert r"anew under the PONumber FT\-1\-B" in app.container(key="story").markdown[0].value
    assert r"placed for FT\-1" in visit("timeline", order="FT-1-B").container(key="story").markdown[0].value


def test_acknowledging_takes_the_order_off_the_list(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("timeline", order="FT-1")
    assert "refused" in app.error[0].value
    app.text_area(key="acknowledge_text").set_value("placed anew by phone")
    app.button(key="acknowledge_submit").click().run()
    app.run()
    assert not app.exception
    assert not app.error
    assert "placed anew by phone" in said(app)


def test_an_empty_note_is_refused_with_a_reason(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("timeline", order="FT-1")
    app.button(key="note_submit").click().run()
    assert not app.exception
    assert "empty" in app.error[0].value


def test_everything_shows_each_event(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    for _ in range(5):
        history.wait(seconds=1)
        history.look("FT-1", "Pending")
    app = visit("timeline", order="FT-1")
    app.session_state["zoom"] = "Everything"
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 8


def test_many_lines_come_in_pages(visit: Visit, history: History) -> None:
    history.place("BULK-1", lines=250)
    history.complete("BULK-1")
    app = visit("timeline", order="BULK-1")
    assert not app.exception
    assert len(app.dataframe[0].value) == 100
    assert app.get("progress")[0].proto.text == "250 of 250 cards fulfilled"


def test_a_watched_order_shows_its_new_state(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("timeline", order="FT-1")
    assert "Pending" in said(app)
    history.wait(seconds=5)
    history.look("FT-1", "Completed")
    app.run()
    assert "Completed within" in said(app)


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
    app = visit("timeline", order="FT-1")
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
