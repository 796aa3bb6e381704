from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import line, request
from histories import History
from pages.conftest import Open, forget
from streamlit.testing.v1 import AppTest

import cached
import order_acts
import order_approval
import recording
import session
from tracking import ingest
from tracking.access import Access, Person
from tracking.errors import NotAdmitted, NotPermitted
from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.reports.team import audit
from tracking.storage.database import Database
from tracking.storage.team import approval_rule
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions
from tracking.team import approval


def claims(name: str, *, at: datetime | None = None, **more: Any) -> dict[str, Any]:
    issued_at = (at or datetime.now(UTC)).timestamp()
    return {
        "is_logged_in": True,
        "email": f"{name}@example.com",
        "email_verified": True,
        "iat": int(issued_at),
        **more,
    }


@pytest.fixture
def lists(database: Database) -> Path:
    """Who may come in, as the file `.env` of a console says."""
    file = Path(".env")
    file.write_text("TRACKING_OPERATORS=ann@example.com\nTRACKING_VIEWERS=*@EXAMPLE.com\n")
    forget()
    return file


def entries(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).mappings())


def shown(app: AppTest) -> str:
    assert not app.exception
    groups = (app.title, app.markdown, app.text, app.caption, app.warning, app.error, app.info, app.metric)
    return "\n".join(str(each.value) for group in groups for each in group)


@pytest.mark.parametrize(
    "who",
    [{}, {"is_logged_in": False}, {"email": "ann@example.com", "email_verified": True}, {"is_logged_in": "true"}],
)
@pytest.mark.parametrize("page", ["overview", "order"])
def test_nobody_sees_more_than_the_way_in(
    visit: Open, history: History, lists: Path, page: str, who: dict[str, Any]
) -> None:
    history.place("FT-1")
    app = visit(page, claims=who, order="FT-1")
    assert shown(app).splitlines() == ["Fulfillment Tracking", "Sign in to see orders."]
    assert [button.label for button in app.button] == ["Sign in"]


def test_whoever_is_on_no_list_is_told_so_and_may_leave(visit: Open, history: History, lists: Path) -> None:
    history.place("FT-1")
    app = visit("order", claims=claims("sam", email="sam@elsewhere.example"), order="FT-1")
    app.run()
    assert "is on neither the list" in app.warning[0].value
    assert "FT-1" not in shown(app)
    assert [button.label for button in app.button] == ["Sign in again", "Sign out"]
    [refusal] = entries(history.database)
    assert (refusal["kind"], refusal["person"]) == ("sign-in refused", "not admitted")
    assert refusal["detail"]["address"] == "s***@elsewhere.example"
    assert "sam@" not in repr(refusal)


def test_an_operator_acts_under_their_address_and_is_not_asked_for_a_name(
    visit: Open, history: History, lists: Path
) -> None:
    history.place("FT-1")
    app = visit("order", claims=claims("Ann"), order="FT-1")
    assert "ann@example.com, operator" in shown(app)
    assert "actor" not in app.session_state
    app.button(key="note").click().run()
    app.text_area(key="note_text").set_value("called them")
    app.button(key="note").click()
    app.button(key="note_submit").click().run()
    assert "Note by ann\\@\u2060example\\.com\\: called them" in app.container(key="story").markdown[0].value


def test_a_viewer_looks_and_every_act_says_why_it_is_not_theirs(visit: Open, history: History, lists: Path) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    app = visit("order", claims=claims("vic"), order="FT-1")
    assert "vic@example.com, viewer" in shown(app)
    visit("order", claims=app.user, order="FT-1").run()
    [sign_in] = entries(history.database)
    assert (sign_in["kind"], sign_in["person"], sign_in["signed_in"]) == ("signed in", "vic@example.com", True)
    for key in ("check_now", "resend"):
        assert app.button(key=key).disabled
        assert "only an operator may do this" in app.button(key=key).help
    assert "not sent" in visit("new_order", claims=claims("vic")).info[0].value


def test_an_act_that_a_viewer_gets_through_all_the_same_is_refused_in_plain_words(
    visit: Open, history: History, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT-1")
    monkeypatch.setattr(session, "may_not_act", lambda: None)
    app = visit("order", claims=claims("vic"), order="FT-1")
    app.button(key="note").click().run()
    app.text_area(key="note_text").set_value("called them")
    app.button(key="note").click()
    app.button(key="note_submit").click().run()
    assert not app.exception
    assert not app.error
    assert "is signed in as a viewer" in app.warning[-1].value
    assert "called them" not in shown(visit("order", claims=claims("ann"), order="FT-1"))


def test_what_the_backend_is_asked_for_a_viewer_writes_nothing(history: History, database: Database) -> None:
    history.place("FT-1")
    viewer = Person("vic@example.com", Access.VIEWER)
    with pytest.raises(NotPermitted):
        actions.add_note(database, "FT-1", by=viewer, now=datetime.now(UTC), text="called them")


def test_a_changed_list_counts_from_the_next_run_on(visit: Open, history: History, lists: Path) -> None:
    history.place("FT-1")
    app = visit("order", claims=claims("ann"), order="FT-1")
    assert not app.button(key="note").disabled
    lists.write_text("TRACKING_OPERATORS=bob@example.com\nTRACKING_VIEWERS=ann@example.com\n")
    app.run()
    assert "ann@example.com, viewer" in shown(app)
    lists.write_text("TRACKING_OPERATORS=bob@example.com\n")
    app.run()
    assert "FT-1" not in shown(app)
    assert "is on neither the list" in app.warning[0].value
    lists.write_text("")
    app.run()
    assert "FT-1" not in shown(app), "emptied lists let nobody in, they do not open the door"


def test_a_sign_in_ends_after_its_hours(visit: Open, lists: Path) -> None:
    old = datetime.now(UTC) - timedelta(hours=12, seconds=1)
    assert "more than 12 hours ago" in visit(claims=claims("ann", at=old)).warning[0].value
    assert "ann@example.com, operator" in shown(visit(claims=claims("ann", at=old + timedelta(minutes=1))))


def test_nothing_is_read_for_nobody_whatever_asks(lists: Path) -> None:
    reads = (session.database, cached.overview, cached.health, cached.filter_options, cached.catalogue)
    for read in (*reads, session.preferences, lambda: cached.flow("24h")):
        with pytest.raises(NotAdmitted):
            read()


def test_a_download_asks_again_at_the_click(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(admitted: Person | None) -> bytes:
        return f"{admitted and admitted.name}, {admitted and admitted.access}".encode()

    monkeypatch.setattr(session, "identity", lambda: claims("ann"))
    made = session.only_while_admitted(make)
    monkeypatch.setattr(session, "identity", dict)
    assert made() == b"ann@example.com, operator", "it is made where nobody is at the screen"
    lists.write_text("TRACKING_OPERATORS=bob@example.com\nTRACKING_VIEWERS=ann@example.com\n")
    assert made() == b"ann@example.com, viewer"
    lists.write_text("TRACKING_OPERATORS=bob@example.com\n")
    with pytest.raises(NotAdmitted):
        made()


def test_whoever_became_a_viewer_does_nothing_more_with_what_an_operator_had_opened(
    history: History, lists: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    approval_rule.enforce(database, ApprovalLimit.parse("5 USD"), now)
    history.at = now
    order_id = history.place("FT-1")
    monkeypatch.setattr(session, "identity", lambda: claims("ann"))
    whole = order_acts.evidence_content(order_id, masked=False, person=session.current_person())
    rows = recording.export("orders", lambda: (b"orders", 1), form="csv")
    assert whole().startswith(b"PK")
    lists.write_text("TRACKING_OPERATORS=bob@example.com\nTRACKING_VIEWERS=ann@example.com\n")
    for act in (approval.approve, approval.decline):
        with pytest.raises(NotPermitted, match="only an operator may do this"):
            order_approval.judge(act, "FT-1", "called them", "Done.")
    with pytest.raises(NotPermitted, match="only an operator may do this"):
        whole()
    assert rows() == b"orders", "what a viewer may have anyway"
    assert [entry["kind"] for entry in entries(database)] == ["evidence exported", "exported"]


def test_an_address_that_looks_a_person_up_is_recorded_as_a_search(
    visit: Open, history: History, lists: Path, database: Database
) -> None:
    recipient = "jane.doe@shop.example"
    document: Any = {"DigitalDeliveryAddress": {"Email": recipient}}
    placed = request("FT-9", line("CVS", 10, **document), kind="DigitalDelivery")
    database.write(lambda c: ingest.place(c, placed, source="form", actor="Ann", now=datetime.now(UTC)))
    vic = claims("vic")
    app = visit("order", claims=vic, order=recipient)
    assert "Our submission" in shown(app), "her order is open"
    visit("order", claims=vic, order="FT-9")
    [sign_in, searched] = entries(database)
    assert (searched["kind"], searched["person"], searched["detail"]["hits"]) == ("searched", "vic@example.com", 1)
    assert "jane" not in repr(searched)
    assert audit.entries(database, audit.AuditFilters(order=recipient)).entries == ()
    assert sign_in["kind"] == "signed in"


def test_without_lists_nobody_is_asked(visit: Open, history: History) -> None:
    history.place("FT-1")
    app = visit("order", order="FT-1")
    assert app.button(key="note").click().run().text_input(key="actor_name").label == "Your name"
    assert "Sign out" not in [button.label for button in app.button]


def test_an_order_above_the_limit_is_approved_on_its_page_by_a_second_person(
    visit: Open, history: History, lists: Path, database: Database
) -> None:
    now = datetime.now(UTC)
    approval_rule.enforce(database, ApprovalLimit.parse("5 USD"), now)
    history.at = now
    history.place("FT-1")
    lists.write_text("TRACKING_OPERATORS=ann@example.com\nTRACKING_VIEWERS=vic@example.com\n")
    app = visit("order", claims=claims("vic"), order="FT-1")
    assert app.button(key="approve").disabled
    assert "only an operator may do this" in app.button(key="decline").help
    app = visit("order", claims=claims("ann"), order="FT-1")
    assert "Waiting " in str([header.value for header in app.header])
    assert any("1 to approve" in str(link.label) for link in app.container(key="counts").page_link)
    app.button(key="approve").click().run()
    assert "1 card, 10\\.00" in shown(app)
    app.button(key="approve").click()
    app.button(key="approve_submit").click().run()
    assert not app.exception
    assert not app.error
    assert [each for each in app.button if each.key in {"approve", "decline"}] == []
    assert "Approved by ann" in shown(app)
