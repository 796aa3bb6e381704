"""What is told of an order whose log left the database: its page, as of then, its evidence file. On both engines."""

from datetime import timedelta

import pytest
from histories import History

from tracking.errors import NotComputed
from tracking.reports.as_of.order import order_as_of
from tracking.reports.evidence.making import make_evidence
from tracking.reports.evidence.verification import verify
from tracking.reports.order import order_record
from tracking.reports.order_page.lines import find_lines
from tracking.reports.order_page.rows import removed_of
from tracking.reports.order_page.story import story
from tracking.reports.order_page.verdicts import order_view

WORDS = "5 earlier events removed from the database on"


@pytest.fixture
def gone(history: History) -> History:
    """An order that was complete half a year ago, and whose log left today."""
    history.remove_log_of("po-1", recipient="ann@example.com")
    return history


def test_the_page_says_what_is_gone_and_since_when(gone: History) -> None:
    rows = story(gone.database, 1, gone.at).rows
    assert [(row.kind, row.text.startswith(WORDS)) for row in rows] == [("removed", True)]
    assert (removed_of(gone.database, 1) or "").endswith("not archived")
    assert removed_of(gone.database, 2) is None
    assert find_lines(gone.database, 1).total == 0
    assert order_view(gone.database, 1, gone.at).event_count == 0
    record = order_record(gone.database, 1)
    assert (record["state"], record["lines"], record["timeline"]) == ("Completed", [], [])
    gone.acknowledge("po-1", "looked at again")
    assert [row.kind for row in story(gone.database, 1, gone.at).rows] == ["removed", "acknowledged"]


def test_as_of_a_time_before_is_refused_and_later_times_are_told(gone: History) -> None:
    with pytest.raises(NotComputed, match="is not stored any more: 5 earlier events removed"):
        order_as_of(gone.database, 1, gone.at - timedelta(days=300))
    gone.wait(hours=1)
    gone.acknowledge("po-1", "looked at again")
    past = order_as_of(gone.database, 1, gone.at - timedelta(minutes=30))
    assert past.then is not None
    assert (past.then.state, past.then.acknowledged_why, past.events, past.events_today) == ("Completed", None, 5, 6)


@pytest.mark.parametrize("later", [False, True])
def test_its_evidence_file_says_so_and_verifies(gone: History, *, later: bool) -> None:
    if later:
        gone.acknowledge("po-1", "looked at again")
    made = make_evidence(gone.database, 1, made_by="Ann", signed_in=False, now=gone.at, masked=False)
    assert made.faults == ()
    verification = verify(made.content)
    assert (verification.differences, verification.manifest is not None) == ((), True)
    assert verification.manifest is not None
    removed = verification.manifest["order"]["removed"]
    assert (removed["events"], removed["facts"]["state"]) == (5, "Completed")
    assert removed["text"].startswith(WORDS)
