"""The page of API tokens: one is made and shown once, those that expire soon are warned of, and one is revoked."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import session
from tracking.access import Access, Person
from tracking.api.callers.tokens import find_caller, listed_tokens, make_token
from tracking.api.problems import Refusal
from tracking.app.preferences import Preferences
from tracking.storage.database import Database

Visit = Callable[..., AppTest]


def written(app: AppTest) -> str:
    kinds: tuple[Any, ...] = (app.markdown, app.caption, app.warning, app.info, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def press(app: AppTest, opener: str, submit: str) -> None:
    app.button(key=opener).click()
    app.button(key=submit).click().run()


def test_a_token_is_made_shown_once_warned_of_before_it_expires_and_revoked(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ann = datetime.now(UTC), Person("ann")
    make_token(database, "soon", Access.OPERATOR, by=ann, now=now - timedelta(days=80))
    make_token(database, "over", Access.VIEWER, by=ann, now=now - timedelta(days=2), days=1)
    app = visit("tokens")
    assert not app.exception
    assert "soon expires in 9 days" in app.warning[0].value
    assert app.expander[0].label == "Expired and revoked 1"
    app.button(key="make_token_open").click().run()
    press(app, "make_token_open", "make_token_submit")
    assert app.error[0].value == "Enter your name first."
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))
    app.text_input(key="token_name").set_value("Billing")
    press(app, "make_token_open", "make_token_submit")
    assert "must be 1 to 40" in app.error[0].value
    app.text_input(key="token_name").set_value("billing")
    app.selectbox(key="token_role").set_value(Access.VIEWER)
    app.checkbox(key="token_never").set_value(True)
    press(app, "make_token_open", "make_token_submit")
    token = app.code[0].value
    caller = find_caller(database, token, now)
    assert (caller.name, caller.access, caller.expires_at) == ("billing", Access.VIEWER, None)
    app.run()
    assert token not in written(app), "it is shown once"
    assert "Never used" in written(app)
    app.button(key="revoke_billing").click().run()
    press(app, "revoke_billing", "revoke_token_submit")
    assert listed_tokens(database)[0].revoked_by == "Bea"
    with pytest.raises(Refusal, match="was revoked"):
        find_caller(database, token, now)
    monkeypatch.setattr(session, "may_not_act", lambda: "Viewers may not act.")
    app = visit("tokens")
    assert "API tokens" not in {each.value for each in app.header}, "viewers have no such page"
    assert "soon" not in written(app)


def test_of_many_tokens_ten_are_shown_those_that_expire_soon_first_and_the_others_by_name_and_page(
    visit: Visit, database: Database
) -> None:
    now, ann = datetime.now(UTC), Person("ann")
    make_token(database, "old", Access.VIEWER, by=ann, now=now - timedelta(days=85))
    for number in range(10):
        make_token(database, f"team-{number}", Access.VIEWER, by=ann, now=now - timedelta(minutes=20 - number))
    app = visit("tokens")
    assert not app.exception

    def names() -> list[str]:
        return [
            str(button.key).removeprefix("revoke_") for button in app.button if str(button.key).startswith("revoke_")
        ]

    assert names() == ["old", *(f"team-{number}" for number in range(9, 0, -1))]
    assert "11 of 11 tokens" in written(app)
    app.text_input(key="find_token").set_value(" TEAM-0 ").run()
    assert names() == ["team-0"]
    app.text_input(key="find_token").set_value("nothing").run()
    assert names() == []
    assert "No token has this in its name." in written(app)
