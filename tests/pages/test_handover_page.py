"""The handover's page: since when is in the address, each line is a link, and its Markdown leads back to the pages."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from histories import History
from pages.test_sign_in import claims, lists
from streamlit.testing.v1 import AppTest

from tracking.access import Person
from tracking.submissions import actions
from tracking.team import disclosures

Visit = Callable[..., AppTest]
__all__ = ["lists"]


def links(app: AppTest) -> list[str]:
    assert not app.exception
    return [link.label.replace("\\", "") for link in app.page_link]


def test_a_handover_is_of_the_time_in_its_address(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC) - timedelta(hours=10)
    history.place("FT-1")
    history.refuse("FT-1")
    actions.add_note(history.database, "FT-1", by=Person("Ann"), now=datetime.now(UTC), text="called")
    app = visit("handover")
    assert [header.value for header in app.header][:2] == ["To do now", "Incidents and outages"]
    assert any(label == "**Refused by the provider**" for label in links(app))
    assert "**Noted**" in links(app)
    assert not any(label == "**By type**" for label in links(app))
    text = next(code.value for code in app.code if code.value.startswith("# Handover"))
    assert "## Came in\n\n- Nothing." in text
    app.selectbox(key="since").set_value("12h").run()
    assert app.query_params["since"] in ("12h", ["12h"])
    assert any(label == "**By type**" for label in links(app))
    for since, why in (("whenever", "is no time"), ("2030-01-01", "yet to come"), ("90d", "31 days at most")):
        assert why in visit("handover", since=since).warning[0].value


def test_whoever_signed_in_is_told_of_the_time_since_then(visit: Visit, history: History, lists: Any) -> None:
    vic, now = Person("vic@example.com", signed_in=True), datetime.now(UTC)
    app = visit("handover", claims=claims("val"))
    assert app.selectbox(key="since").value == "8h", "nothing came yet since the only sign-in"
    for hours in (20, 9):
        at = now - timedelta(hours=hours)
        disclosures.record_sign_in(history.database, int(at.timestamp()), by=vic, now=at)
    app = visit("handover", claims=claims("vic", at=now - timedelta(hours=9)))
    assert app.selectbox(key="since").value == "sign-in"
    assert not app.exception
    disclosures.record_sign_in(history.database, int(now.timestamp()), by=vic, now=now)
    app = visit("handover", claims=claims("vic", at=now))
    assert app.selectbox(key="since").value == "before"
    assert not app.exception
