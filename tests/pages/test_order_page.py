from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import histories
import pytest
import streamlit as st
from fakes import order_json, request
from histories import History
from sqlalchemy import select
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

import as_of
import order_acts
import order_work
import session
from tracking import ingest
from tracking.app.preferences import Preferences
from tracking.errors import StoreBusy
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted, Polled
from tracking.provider import call_log
from tracking.provider.responses import read_order
from tracking.reports.evidence.verification import verify
from tracking.reports.order_page.verdicts import OrderView
from tracking.settings.loading import load
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions

Visit = Callable[..., AppTest]


def said(app: AppTest | Block) -> str:
    kinds = (app.markdown, app.text, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def act(app: AppTest, opener: str, key: str) -> AppTest:
    """Press a button of a dialog. A run of a test is the whole page, so that its opener is pressed along with it."""
    app.button(key=opener).click()
    return app.button(key=key).click().run()


def story(app: AppTest) -> str:
    """The rows of the timeline, as they read."""
    return str(app.container(key="story").markdown[0].value).replace("\\", "").replace("\u2060", "")


def way(app: AppTest) -> list[str]:
    """The links to the list and through it."""
    return [link.label for link in app.container(key="way").page_link]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at the screen has said that they are Bea."""
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))


def test_without_an_order_it_leads_to_the_list(visit: Visit) -> None:
    app = visit("order")
    assert "All orders" in [link.label for link in app.page_link]
    assert "Search for an order above" in said(app)


def test_an_unknown_order_is_told_and_the_search_is_offered(visit: Visit) -> None:
    app = visit("order", order="NOT-HERE")
    assert not app.exception
    assert r"No order matches “NOT\-HERE”" in app.warning[-1].value
    assert "q=NOT-HERE" in app.page_link[-1].proto.query_string


@pytest.mark.parametrize("wanted", ["FT-1", "BLK-1", " ft-1"])
def test_an_order_shows_its_verdict_and_story(visit: Visit, history: History, wanted: str) -> None:
    history.place("FT-1", recipient="ann@example.com")
    history.complete("FT-1")
    app = visit("order", order=wanted)
    assert not app.exception
    assert [code.value for code in app.code][:2] == ["FT-1", "BLK-1"]
    assert "Completed 10 s to 11 min" in app.container(key="verdict").header[0].value
    assert "Detected 0 s to 10 min after completion" in app.container(key="evidence").markdown[-1].value
    assert "| Accepted as BLK-1, Pending |" in story(app)
    [chart] = app.get("plotly_chart")
    assert "Completed from " in chart.proto.alt
    assert "accepted" in said(app.container(key="witnesses"))
    assert "1 card · 10.00 (currency unknown) · links · by form · Ann" in said(app)
    assert not any(address in said(app) for address in ("ann@example.com", "a***@example.com"))
    app = visit("order", order=wanted, show="lines")
    assert app.dataframe[0].value["recipient"].tolist() == ["a***@example.com"]
    assert app.dataframe[0].value["status"].tolist() == [["Completed"]]


def test_what_is_not_possible_says_why(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("order", order="FT-1")
    check, resend = app.button(key="check_now"), app.button(key="resend")
    assert check.disabled
    assert resend.disabled
    assert "nothing to poll" in check.help
    assert "can be resent" in resend.help
    assert "Nothing about this order needs a decision" in app.button(key="acknowledge").help
    assert [app.button(key=key).disabled for key in ("acknowledge", "note")] == [True, False]


def test_poll_now_is_written_into_the_story(visit: Visit, history: History, named: None) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    app.button(key="check_now").click().run()
    assert not app.exception
    assert "Bea requested a poll" in story(app)
    assert [toast.value.replace("\\", "") for toast in app.toast] == ["Poll queued."]


def test_who_acts_is_asked_before_the_first_act(visit: Visit, history: History, database: Database) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    app.button(key="acknowledge").click().run()
    assert "Enter your name" in said(app)
    act(app, "acknowledge", "reason_Reordered")
    assert "Enter your name first." in [box.value for box in app.error]
    assert "Acknowledged" not in story(visit("order", order="FT-1"))


def test_an_unconfirmed_order_can_be_sent_again_under_its_number(visit: Visit, history: History, named: None) -> None:
    history.place("FT-1")
    history.lose("FT-1")
    app = visit("order", order="FT-1")
    assert not app.button(key="resend").disabled
    app.button(key="resend").click().run()
    assert "**1 card, 10\\.00 \\(currency unknown\\)** is sent to the provider again" in said(app)
    assert "requested a resend" not in story(app)  # it may cost money: one click asks
    act(app, "resend", "resend_submit")
    assert not app.exception
    assert "Bea requested a resend" in story(app)


def test_an_order_whose_po_number_is_anothers_can_be_placed_anew_once_both_are_wanted(
    visit: Visit, history: History, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request("FT-1")
    history.numbers["FT-1"] = history.database.write(
        lambda connection: ingest.place(connection, asked, source="form", actor="Ann", now=history.at)
    )
    history.see("FT-1", Attempted(1), Witness.US)
    other = history.snapshot("FT-1", "Pending", [Line(1, "CVS", 9900, 1)])
    history.see("FT-1", Answered(other, adopted=True), Witness.ANSWER)
    app = visit("order", order="FT-1")
    assert actions_of(app) == ["Copy link", "Customer summary", "Evidence file", as_of.LABEL, order_acts.ANEW]
    menu = st.menu_button
    monkeypatch.setattr(
        st, "menu_button", lambda *args, **more: order_acts.ANEW if more.get("key") == "more" else menu(*args, **more)
    )
    assert "**1 card, 10" in said(app.run())
    app.text_input(key="anew_po_number").set_value("FT-1-B")
    app.button(key="anew_submit").click().run()
    assert "both are wanted" in app.error[-1].value
    app.checkbox(key="anew_both").check()
    app.text_input(key="anew_po_number").set_value("FT-1-B")
    app.button(key="anew_submit").click().run()
    assert not app.exception
    assert "Bea placed this anew as FT-1-B: both orders are wanted" in story(app)


def test_the_evidence_file_is_masked_unless_an_operator_wants_it_whole(
    visit: Visit, history: History, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT 1", recipient="jane.doe@example.com")
    downloads: list[tuple[Any, str]] = []
    menu = st.menu_button
    monkeypatch.setattr(
        st, "menu_button", lambda *args, **more: order_acts.RECORD if more.get("key") == "more" else menu(*args, **more)
    )
    monkeypatch.setattr(st, "download_button", lambda _, data, name, *args, **more: downloads.append((data, name)))
    app = visit("order", order="FT 1")
    app.toggle(key="evidence_whole").set_value(True).run()
    assert not app.exception
    assert {name for _, name in downloads} == {"evidence-FT_1.zip"}
    masked, whole = downloads[0][0](), downloads[-1][0]()
    assert verify(masked).differences == verify(whole).differences == ()
    assert [content.count(b"jane.doe@example.com") for content in (masked, whole)] == [0, 2]
    with history.database.read() as connection:
        acts = connection.execute(select(AUDIT_LOG.c.person, AUDIT_LOG.c.kind)).all()
    assert list(acts) == [("Bea", "evidence exported")] * 2


def test_as_of_a_moment_the_page_shows_what_was_known_then_and_offers_no_act(
    visit: Visit, history: History, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.at = histories.START
    history.place("FT-1", lines=2)
    history.complete("FT-1")
    app = visit("order", order="FT-1", as_of="2026-03-04T10:05")
    assert not app.exception
    assert "**As known on 2026-03-04 10:05:00 (UTC).**" in app.warning[0].value.replace("\\", "")
    then, today = app.container(key="as_of_then"), app.container(key="as_of_today")
    assert "**Open\\: Pending\\.**" in said(then)
    assert "Completed on" in said(today)
    assert "2 lines Pending" in said(then)
    assert [link.label for link in app.container(key="as_of_band").page_link] == ["Now"]
    assert "Completed" not in story(app)
    assert not {"check_now", "note", "acknowledge", "resend", "assign"} & {button.key for button in app.button}
    assert "Nothing was known of this order then" in visit("order", order="FT-1", as_of="2026-03-04").info[0].value
    wrong = visit("order", order="FT-1", as_of="2090-01-01")
    assert "is yet to come" in wrong.warning[0].value
    assert wrong.button(key="note")
    menu = st.menu_button
    monkeypatch.setattr(
        st, "menu_button", lambda *args, **more: as_of.LABEL if more.get("key") == "more" else menu(*args, **more)
    )
    went: list[dict[str, str]] = []
    monkeypatch.setattr(st, "switch_page", lambda page, query_params: went.append({"page": page, **query_params}))
    asked = visit("order", order="FT-1")
    asked.datetime_input(key="as_of_moment").set_value(datetime.fromisoformat("2026-03-04T10:05"))
    asked.button(key="as_of_show").click().run()
    assert went[-1] == {"page": "order.py", "order": "FT-1", "as_of": "2026-03-04T10:05"}


def actions_of(app: AppTest) -> list[str]:
    menu = next(each for each in app.get("menu_button") if each.proto.id.endswith("more"))
    return [option.partition(": ")[2] for option in menu.proto.options]


@pytest.mark.parametrize(
    ("key", "words", "why"),
    [
        ("reason_Customer informed", "", "Customer informed"),
        ("reason_Reordered", "as FT-2", "Reordered: as FT-2"),
        ("reason_other", "placed by phone", "placed by phone"),
    ],
)
def test_a_click_on_a_reason_acknowledges(
    visit: Visit, history: History, named: None, key: str, words: str, why: str
) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    assert "Needs a decision" in app.error[0].value
    app.button(key="acknowledge").click().run()
    app.text_input(key="acknowledge_text").set_value(words)
    act(app, "acknowledge", key)
    assert not app.exception
    assert not app.error
    assert [toast.value.replace("\\", "") for toast in app.toast] == ["Acknowledged."]
    assert f"Acknowledged by Bea: {why}" in story(app)
    assert any("Acknowledged by Bea" in caption.value for caption in app.caption)
    app.button(key="reopen").click().run()
    assert "Reopened by Bea" in story(app)
    assert not app.button(key="acknowledge").disabled


@pytest.mark.parametrize("text", ["", "\u200b"])
@pytest.mark.parametrize(
    ("opener", "field", "key"), [("acknowledge", "text_input", "reason_other"), ("note", "text_area", "note_submit")]
)
def test_a_reason_without_words_is_refused_and_the_page_stays(
    visit: Visit, history: History, named: None, opener: str, field: str, key: str, text: str
) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    app.button(key=opener).click().run()
    getattr(app, field)(key=f"{opener}_text").set_value(text)
    act(app, opener, key)
    assert not app.exception
    assert any("a few words" in box.value for box in app.error)
    assert "by Bea" not in story(app)
    assert len(app.get("plotly_chart")) == 1


@pytest.mark.parametrize(
    ("opener", "field", "key"),
    [("acknowledge", "text_input", "reason_other"), ("note", "text_area", "note_submit")],
)
def test_words_that_are_too_long_are_counted_and_stay(
    visit: Visit, history: History, named: None, opener: str, field: str, key: str
) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    app.button(key=opener).click().run()
    box = getattr(app, field)(key=f"{opener}_text")
    assert not box.proto.max_chars
    box.set_value("x" * 650)
    act(app, opener, key)
    assert not app.exception
    assert any("has 650 characters; at most 500" in told.value for told in app.error)
    assert "by Bea" not in story(app)


def test_an_act_that_fails_is_told_and_the_page_stays(
    visit: Visit, history: History, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_named: object) -> None:
        raise StoreBusy("the database is locked")

    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    monkeypatch.setattr(actions, "check_now", fails)
    app.button(key="check_now").click().run()
    assert "busy" in app.error[0].proto.title
    assert not app.toast
    assert story(app)


def test_the_way_through_the_list_is_in_the_address(visit: Visit, history: History, named: None) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
        history.refuse(name)
    app = visit("order", order="A-2", list="view=attention&sort=po+number")
    assert way(app) == ["Back to 3 results", "Previous", "Next"]
    assert "2 of 3" in said(app.container(key="way"))
    back, before, after = (link.proto.query_string for link in app.container(key="way").page_link)
    assert "order=A-3" in before
    assert "order=A-1" in after
    assert "list=view" in before
    assert set(back.split("&")) == {"view=attention", "sort=po+number"}
    app.button(key="acknowledge").click().run()
    act(app, "acknowledge", "reason_Reordered")
    queries = [link.proto.query_string for link in app.container(key="way").page_link]
    assert queries == [back, before, after], "it has left the list, and the way through it stays"
    assert way(visit("order", order="A-2")) == ["All orders"]


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
    assert "4 polls, all Pending" in story(app)
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
    row = next(row for row in story(visit("order", order="OUT-1")).split("\n") if "omplete (awaiting" in row)
    assert f"{came:%H:%M:%S} |" in row.partition("Webhook")[0]
    assert f"{history.at:%H:%M:%S})" in row.partition("(recorded ")[2]


def test_calls_are_shown_line_by_line(visit: Visit, history: History, database: Database) -> None:
    number = history.place("FT-1")
    call = {"at": history.at, "method": "POST", "path": "/v1/Orders", "status": 201, "milliseconds": 5, "outcome": "ok"}
    row = call | {"order_id": number, "request": '{"PONumber": "FT-1"}', "answer": '{"Id": "BLK-1"}'}
    database.write(lambda connection: call_log.store_api_calls(connection, [row]))
    codes = [code.value for code in visit("order", order="FT-1", show="calls").code]
    assert codes[-2:] == ['{\n  "PONumber": "FT-1"\n}', '{\n  "Id": "BLK-1"\n}']


def test_of_an_order_whose_log_left_each_part_says_what_is_gone(visit: Visit, history: History) -> None:
    history.remove_log_of("A-1")
    for part in ("calls", "raw"):
        words = said(visit("order", order="A-1", show=part))
        assert "What there was is gone: 5 earlier events removed from the database on" in words.replace("\\", "")


def test_everything_shows_each_event(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    for _ in range(5):
        history.wait(seconds=1)
        history.look("FT-1", "Pending")
    app = visit("order", order="FT-1", show="events")
    assert not app.exception
    assert len(app.dataframe[0].value) == 8
    assert "All events 8" in app.segmented_control[0].options[1]


def test_many_lines_come_in_pages(visit: Visit, history: History) -> None:
    history.place("BULK-1", lines=250)
    history.complete("BULK-1")
    app = visit("order", order="BULK-1", show="lines")
    assert not app.exception
    assert len(app.dataframe[0].value) == 100
    assert app.get("progress")[0].proto.text == "250 of 250 cards fulfilled"
    assert len(app.get("plotly_chart")) == 2
    [number] = history.numbers.values()
    app.text_input(key=f"lines_text_{number}").set_value("250").run()
    assert app.dataframe[0].value["number"].tolist() == [250]
    app.text_input(key=f"lines_text_{number}").set_value("x" * 201).run()
    assert "The search has 201 characters; at most 200." in [told.value for told in app.error]
    app.text_input(key=f"lines_text_{number}").set_value("nothing").run()
    assert "No line matches" in said(app)


def test_an_order_that_moves_on_while_its_page_is_drawn_shows_its_new_state_and_what_was_done(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", order="FT-1")
    assert "Pending" in said(app)
    draw, states = order_work.draw, list[str]()

    def moves_on(view: OrderView) -> None:
        if not states:
            history.wait(seconds=5)
            history.look("FT-1", "Completed")
        states.append(str(view.order.state))
        draw(view)

    toasts: list[str] = []
    monkeypatch.setattr(order_work, "draw", moves_on)
    monkeypatch.setattr(st, "toast", toasts.append)
    app.session_state["toast"] = "Poll queued."
    app.run()
    assert states == ["Pending", "Completed"]
    assert "Completed 0 to 5 s after it was placed" in app.header[-1].value
    app.run()
    assert toasts == ["Poll queued\\."] * 2, "a browser shows that of the run whose page stays, which comes at once"


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
    app = visit("order", order="FT-1", show="lines")
    app.session_state["claims"] = True
    return app.run()


def codes(app: AppTest) -> list[str]:
    return [str(code.value) for code in app.code]


def test_claim_data_is_revealed_by_one_act_and_gone_with_the_next(visit: Visit, claimed: History, named: None) -> None:
    app = opened(visit)
    assert not any("claim.example" in code for code in codes(app))
    app.number_input(key="claims_line_1").set_value(99).run()
    assert "Line: enter 1 to 2, not 99." in [told.value for told in app.error]
    assert app.button(key="reveal").disabled
    app.number_input(key="claims_line_1").set_value(2).run()
    app.button(key="reveal").click().run()
    assert not app.exception
    assert "https://claim.example/second" in codes(app)
    assert "Recorded in the timeline" in said(app)
    assert "1 other version" in said(app)
    assert "claim.example" not in f"{said(app)} {app.session_state!r} {app.query_params}"
    app.run()
    assert not any("claim.example" in code for code in codes(app))
    assert "Bea revealed the claim data of unit 1 of line 2" in story(visit("order", order="FT-1"))


def test_an_earlier_version_can_be_picked(visit: Visit, claimed: History, named: None) -> None:
    app = opened(visit)
    app.number_input(key="claims_line_1").set_value(2).run()
    app.selectbox(key="claims_version_1_2").set_value(1).run()
    app.button(key="reveal").click().run()
    assert "https://claim.example/first" in codes(app)


def test_somebody_else_sees_nothing_of_what_is_revealed(visit: Visit, claimed: History, named: None) -> None:
    app = opened(visit)
    app.button(key="reveal").click().run()
    assert any("claim.example" in code for code in codes(app))
    assert not any("claim.example" in code for code in codes(opened(visit)))


def test_claim_data_that_no_key_opens_is_told_and_no_crash(
    visit: Visit, claimed: History, named: None, tmp_path: Path
) -> None:
    (tmp_path / "claims.key").unlink()
    app = opened(visit)
    app.button(key="reveal").click().run()
    assert not app.exception
    assert "TRACKING\\_CLAIMS\\_KEY" in app.error[0].value
    assert "revealed" not in said(app.run())
