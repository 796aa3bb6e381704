"""The page of outgoing webhooks: how each fares, what people do with it, its secret once, and what was delivered."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from histories import History
from outgoing import ScriptedPoster
from streamlit.testing.v1 import AppTest

import session
from tracking.access import Person
from tracking.app.preferences import Preferences
from tracking.delivery import subscribing
from tracking.delivery.deliverer import Deliverer
from tracking.delivery.posting import Reply
from tracking.delivery.signing import SecretCipher
from tracking.delivery.subscribing import NewHook
from tracking.reports.outgoing.hooks import hooks
from tracking.settings.loading import load
from tracking.storage.database import Database

Visit = Callable[..., AppTest]
ANN = Person("Ann")
HOSTILE = "crm ![x](https://evil.example.com/a.png)"


def written(app: AppTest) -> str:
    kinds: tuple[Any, ...] = (app.markdown, app.caption, app.warning, app.info, app.code, app.text)
    text = "\n".join(str(element.value) for kind in kinds for element in kind)
    return text.replace("\\", "").replace("\u2060", "")


def press(app: AppTest, opener: str, submit: str) -> None:
    """Submit the form of a dialog: an AppTest runs all of the page, which draws the dialog where it is asked for."""
    app.button(key=opener).click()
    app.button(key=submit).click().run()


def pick(app: AppTest, hook_id: int, act: str, submit: str) -> None:
    """The same of a dialog that is opened from the menu."""
    app.menu_button(key=f"more_{hook_id}").set_value(act).run()
    app.menu_button(key=f"more_{hook_id}").set_value(act)
    app.button(key=submit).click().run()


def subscribe(database: Database, name: str, url: str = "https://crm.example.com/h?key=canary") -> None:
    how: dict[str, Any] = {"cipher": SecretCipher(load().claims_keys()), "allowed": (), "by": ANN}
    subscribing.add(database, NewHook(name, url), **how, now=datetime.now(UTC) - timedelta(hours=1))


def deliver(database: Database, *replies: Reply) -> None:
    cipher = SecretCipher(load().claims_keys())
    how: dict[str, Any] = {"owner": "a/1/x", "clock": lambda: datetime.now(UTC), "rng": random.Random(1)}
    deliverer = Deliverer(database, ScriptedPoster(*replies), cipher, **how)

    async def run() -> None:
        while leased := await deliverer.begin_due(datetime.now(UTC), 9):
            await asyncio.gather(*map(deliverer.deliver, leased))

    asyncio.run(run())


def test_a_webhook_is_added_its_secret_is_shown_once_and_it_is_paused_and_removed(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))
    app = visit("hooks")
    assert "No other system is notified" in app.info[0].value
    app.button(key="add_hook_open").click().run()
    app.text_input(key="hook_name").set_value("C*R*M")
    app.text_input(key="hook_url").set_value("http://crm.example.com/")
    press(app, "add_hook_open", "add_hook_submit")
    assert "what is sent is signed, and not encrypted" in app.error[0].value
    app.text_input(key="hook_url").set_value("https://crm.example.com/h?key=canary")
    press(app, "add_hook_open", "add_hook_submit")
    assert not app.exception
    assert app.code[0].value.startswith("whsec_")
    [hook] = hooks(database)
    assert (hook.name, hook.created_by) == ("C*R*M", "Bea")
    app.run()
    assert not app.code, "the secret is shown once"
    assert "canary" not in written(app)
    app.button(key=f"pause_{hook.id}").click().run()
    assert "Paused" in written(app)
    assert app.toast[0].value.startswith("C\\*R\\*M\\: paused"), "nothing in a name is interpreted"
    pick(app, hook.id, "rotate", "rotate_submit")
    assert app.code[0].value.startswith("whsec_")
    app.run()
    pick(app, hook.id, "remove", "remove_submit")
    assert hooks(database) == []


def test_the_page_says_how_each_fares_and_what_was_delivered(
    visit: Visit, database: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(database, HOSTILE)
    history.wait(minutes=-20)
    history.place("FT-1")
    history.complete("FT-1")
    deliver(database, Reply(204), Reply(500, HOSTILE))
    app = visit("hooks")
    assert not app.exception
    assert "Failing since" in written(app)
    assert "![x](https://evil" not in "".join(str(each.value) for each in (*app.markdown, *app.caption))
    table = app.dataframe[0].value
    assert set(table["state"].map(lambda cell: cell[0])) == {"Delivered", "Waiting"}
    assert {"answered 204", "answered 500"} <= set(table["answer"])
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))
    app.session_state["opened_delivery"] = 3
    app.run()
    assert "It is sent after line.changed" in written(app)
    app.button(key="open_first").click().run()
    assert app.session_state["opened_delivery"] == 2
    app.session_state["opened_delivery"] = 1
    app.run()
    assert "Attempt 1" in written(app)
    assert "canary" not in written(app)
    app.button(key="send_delivery_again").click().run()
    assert "waiting, due" in written(app)
    app.button(key="skip_delivery").click().run()
    app.text_area(key="skip_reason").set_value("refused for good")
    press(app, "skip_delivery", "skip_submit")
    assert "by Bea: refused for good" in written(app)
    order = visit("order", order="FT-1")
    assert any(each.label.startswith("Outgoing webhooks") for each in order.expander)
    monkeypatch.setattr(session, "may_not_act", lambda: "Viewers may not act.")
    app = visit("hooks", state="waiting", hook=HOSTILE)
    acts = [button for button in app.button if str(button.key).startswith(("add_hook", "pause_", "resume_"))]
    assert acts
    assert all(button.disabled for button in acts)
    assert set(app.dataframe[0].value["state"].map(lambda cell: cell[0])) == {"Waiting"}
