"""What every page has in common."""

import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path

import pytest
from histories import START, History
from pages.conftest import MAIN
from sqlalchemy import Connection
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import HeadingBase

from tracking.access import Person
from tracking.reports.order_list.filters import Filters
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance.restore_mark import RestoreMark, set_mark
from tracking.submissions import actions
from tracking.webhooks.silence_alarm import SilenceAlarm

Visit = Callable[..., AppTest]

PAGES = ["overview", "orders", "order", "new_order", "logs", "insights", "audit", "handover", "imports"]


def texts(app: AppTest) -> str:
    """All that is written on the page."""
    kinds = (
        app.title,
        app.subheader,
        app.markdown,
        app.text,
        app.caption,
        app.warning,
        app.error,
        app.info,
        app.success,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_on_an_empty_store_and_says_it_is_a_sandbox(visit: Visit, page: str) -> None:
    app = visit(page)
    assert not app.exception
    assert "SANDBOX · simulated" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_claims_to_be_a_sandbox_when_it_is_live(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "https://provider.example")
    monkeypatch.setenv("TRACKING_API_EMAIL", "ops@example.com")
    monkeypatch.setenv("TRACKING_API_ACCESS_TOKEN", "not-a-real-token")
    app = visit(page)
    assert not app.exception
    assert "SANDBOX" not in texts(app)
    assert "LIVE · provider\\.example" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_unreachable_provider_and_a_silent_loop_are_told_everywhere(
    visit: Visit, history: History, database: Database, page: str
) -> None:
    since = history.wait(hours=-1)

    def remember(connection: Connection) -> None:
        facts.set_fact(connection, "beat:sender", {}, since)
        said = {"failing_since": since.isoformat(), "last_error": "NotSent: no connection"}
        facts.set_fact(connection, "client", said, since)

    database.write(remember)
    app = visit(page)
    told = [element.value for element in app.error]
    assert any("Provider unreachable since" in text for text in told)
    assert any("not responding" in text and "sender" in text for text in told)


def test_a_store_that_cannot_be_written_is_told_in_its_own_words(visit: Visit, database: Database) -> None:
    database.trouble = "the disk is full: make room"
    app = visit()
    assert any("The database cannot be written" in element.value for element in app.error)
    assert "The disk is full" in texts(app)
    assert not app.exception


@pytest.mark.parametrize("trouble", [None, "no <b>connection</b>"])
def test_a_restored_store_says_on_every_page_that_it_is_being_reconciled(
    visit: Visit, database: Database, history: History, trouble: str | None
) -> None:
    mark = RestoreMark(history.wait(hours=-1), 0, trouble=trouble)
    database.write(lambda connection: set_mark(connection, mark, history.wait()))
    app = visit("orders")
    assert any("Restored from a backup" in element.value for element in app.warning)
    [told] = [element.value for element in app.markdown if "sending resumes once that is known" in element.value]
    assert ("Waiting for the provider" in told) == (trouble is not None)
    assert "<b>" not in told.replace("\\<b\\>", "")


def test_a_log_that_a_reader_holds_is_told(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "wal_bytes", lambda _self: 300 * 2**20)
    app = visit()
    assert any("300 MB" in element.value for element in app.warning)
    assert "Close the program" in texts(app)


def test_settings_that_cannot_be_used_are_told_without_a_trace(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "nonsense")
    app = visit()
    assert not app.exception
    assert "API" in app.error[0].value
    assert len(app.title) == 0


NASTY = "<b>x</b> ![i](https://evil.example/p.png) [l](javascript:x) $x$ :red[y] :material/home: `c`"


def test_nothing_from_outside_is_interpreted(visit: Visit, history: History) -> None:
    history.place(NASTY[:95])
    history.refuse(NASTY[:95], NASTY)
    actions.add_note(history.database, NASTY[:95], by=Person(NASTY), now=history.at, text=NASTY)
    others = (visit("audit", person=NASTY), visit("handover", since="1000d"))
    for app in (visit(), visit("order", order=NASTY[:95]), visit("orders", q="evil"), *others):
        assert not app.exception
        for element in [*app.markdown, *app.caption, *app.error, *app.warning, *app.info]:
            assert "![i](" not in element.value
            assert "<b>" not in element.value.replace("\\<b\\>", "")
            assert ":red[y]" not in element.value


def test_filters_in_an_address_are_names_that_pages_bind(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("orders")
    bound = set(Filters(text="x", states=("a",)).to_query()) | {"view", "sort", "asc", "type", "source", "page"}
    assert {"q", "state", "view"} <= bound
    assert not app.exception


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("lasted", "said"), [(None, "No webhooks since"), (5, "Webhooks are arriving again")])
def test_silent_webhooks_are_told_everywhere_until_a_while_after_they_are_heard_again(
    visit: Visit, history: History, database: Database, page: str, lasted: int | None, said: str
) -> None:
    since = history.wait(minutes=-30)
    alarm = SilenceAlarm(since, since, 4, since + timedelta(minutes=lasted) if lasted else None)
    database.write(lambda connection: facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), since))
    app = visit(page)
    told = [element.value for element in (*app.warning, *app.info)]
    assert [said in text for text in told].count(True) == 1
    assert not app.exception


@pytest.mark.parametrize(
    ("page", "query"),
    [
        *[(page, {}) for page in (*PAGES, "alerts", "drills", "hooks", "jobs", "tokens")],
        ("overview", {"as_of": "2026-03-04T11:00"}),
        ("order", {"order": "FT-1"}),
        ("order", {"order": "FT-1", "as_of": "2026-03-04T11:00"}),
        ("insights", {"show": "lab"}),
    ],
)
def test_no_heading_stands_more_than_a_level_below_the_one_before(
    visit: Visit, history: History, page: str, query: dict[str, str]
) -> None:
    history.at = START
    history.place("FT-1")
    history.complete("FT-1")
    history.place("FT-2")
    app = visit(page, **query)
    if page == "overview":
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
    assert not app.exception
    title = 1  # which the frame of the page writes as HTML
    levels = [title, *[int(element.tag[1]) for element in app.main if isinstance(element, HeadingBase)]]
    assert max(levels) <= 3
    assert [below for above, below in pairwise(levels) if below > above + 1] == []
    if "as_of" in query:
        assert len(levels) > 2


def test_no_page_file_shadows_a_standard_or_an_installed_module() -> None:
    # The folder of the pages is the first that Python looks for modules in.
    names = {file.stem for file in MAIN.parent.glob("*.py")}
    assert names >= {"overview", "elements", "session"}
    elsewhere = [folder for folder in sys.path if Path(folder or ".").resolve() != MAIN.parent]
    assert not names & sys.stdlib_module_names
    specs = {name: PathFinder.find_spec(name, elsewhere) for name in names}
    # A folder without a loader, such as that of a room's tests, gives way to a file of the same name.
    assert [name for name, spec in specs.items() if spec is not None and spec.loader is not None] == []
