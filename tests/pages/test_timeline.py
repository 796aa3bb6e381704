from collections.abc import Callable

import pytest
from histories import History
from streamlit.testing.v1 import AppTest

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
