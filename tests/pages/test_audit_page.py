"""The audit log's page: every filter in its address, what is exported recorded, and viewers may read it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from histories import History
from sqlalchemy import Connection
from streamlit.testing.v1 import AppTest

from tracking.access import Person
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.submissions import actions

Visit = Callable[..., AppTest]


def searched(at: datetime, connection: Connection) -> None:
    for number in range(105):
        detail = {"text": "hash:" + 32 * "a", "hits": number}
        record_act(connection, Person("Ann"), AuditKind.SEARCHED, at + timedelta(seconds=number), detail=detail)


def rows(app: AppTest) -> list[str]:
    assert not app.exception
    return list(app.dataframe[0].value["text"]) if app.dataframe else []


def test_the_page_lists_filters_and_pages_by_its_address(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.database.write(partial(searched, history.at))
    actions.add_note(history.database, "FT-1", by=Person("*Bob*"), now=history.at, text="called")
    app = visit("audit")
    assert rows(app)[:2] == ["Added a note: called", "Searched, 104 hits: hash:aaaaaaaa…"]
    assert len(rows(app)) == 100
    app.button(key="older").click().run()
    assert app.query_params["below"] in ("7", ["7"])
    assert rows(app) == [f"Searched, {count}: hash:aaaaaaaa…" for count in _hits(5, 4, 3, 2, 1, 0)]
    app.selectbox(key="person").set_value("*Bob*").run()
    assert list(app.query_params) == ["person"]
    assert rows(app) == ["Added a note: called"]
    app.text_input(key="order").set_value("none").run()
    assert rows(app) == []
    app.button(key="clear_filters").click().run()
    assert len(rows(app)) == 100
    assert rows(visit("audit", order="FT-1", kind="noted", since="1000d", person="*Bob*")) == ["Added a note: called"]
    assert "is no time" in visit("audit", since="whenever").warning[0].value
    assert len(rows(visit("audit", below="9" * 40))) == 100, "a number that no store holds is none"


def _hits(*numbers: int) -> list[str]:
    return [f"{number} hit{'' if number == 1 else 's'}" for number in numbers]


def test_what_an_entry_holds_is_opened_and_its_head_can_be_noted(visit: Visit, history: History) -> None:
    history.place("FT-1")
    actions.add_note(history.database, "FT-1", by=Person("Ann"), now=history.at, text="called")
    app = visit("audit")
    heads = [code.value for code in app.code if code.value.startswith("1:")]
    assert len(heads) == 1
    assert len(heads[0]) == 66
    downloads = [json.loads(f'"{button.proto.label}"') for button in app.get("download_button")]
    assert downloads == ["CSV", "JSONL"]
