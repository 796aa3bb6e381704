import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from histories import History
from streamlit.testing.v1 import AppTest

from charts import insights as charts
from tracking.errors import NotComputed
from tracking.polling.backtest import comparison, process
from tracking.settings.loading import load

Visit = Callable[..., AppTest]


def test_each_finding_is_a_sentence_a_chart_and_its_data(visit: Visit, history: History) -> None:
    app = visit("insights")
    assert not app.exception
    assert len(app.get("plotly_chart")) == 0
    history.at = datetime.now(UTC) - timedelta(hours=1)
    history.place("A-1")
    history.accept("A-1")
    history.wait(seconds=20)
    history.announce("A-1")
    history.wait(seconds=3)
    history.look("A-1", "Completed")
    app = visit("insights", span="24h")
    assert not app.exception
    said = "\n".join(markdown.value for markdown in app.markdown).replace("\\", "")
    for sentence in (
        "1 of 1 completion detected within 5 s: p50 3 s, p95 3 s.",
        "No ETA came due in this period.",
        "Of 1 completion: 1 reported by both (webhook first in 1, median 3 s). No contradiction.",
    ):
        assert sentence in said
    assert [chart.proto.alt.partition(".")[0] for chart in app.get("plotly_chart")] == [
        "Detection delay per hour or day",
        "Completions by whether the webhook or the poll came first",
    ]
    assert len(app.dataframe) == 2


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch, history: History) -> list[Sequence[str]]:
    """Replays computed in this process, as one of its own takes seconds; with what each was asked for."""
    asked: list[Sequence[str]] = []

    def compute(arguments: Sequence[str], patience: float = 0) -> Any:
        asked.append(arguments)
        chosen = {"policy": "doubling", "ceiling": 30.0} if "doubling" in arguments else {}
        since = history.at - timedelta(days=1)
        told = comparison.compare_plans(
            history.database, load(), since, chosen, frontier=False, progress=lambda _done, _all: None
        )
        return json.loads(json.dumps(told, default=str))

    made = process.Replays.__init__
    monkeypatch.setattr(process.Replays, "__init__", lambda self: made(self, compute))
    return asked


def test_a_replay_runs_in_the_background_and_its_result_stays(
    visit: Visit, history: History, replays: list[Sequence[str]]
) -> None:
    app = visit("insights", show="lab")
    assert any("Runs in the background" in caption.value for caption in app.caption)
    assert not app.number_input
    app.button(key="replay").click().run()
    until_ended(app)
    assert "too little history to replay" in app.error[-1].value
    for number in range(20):
        history.place(f"FT-{number}")
        history.complete(f"FT-{number}", minutes=1)
    app.selectbox(key="replay_plan").set_value("Doubling waits").run()
    app.number_input(key="replay_ceiling").set_value(0.5).run()
    assert "Longest wait, s: enter 1 to 3,600, not 0.5." in [told.value for told in app.error]
    assert app.button(key="replay").disabled
    app.number_input(key="replay_ceiling").set_value(30.0).run()
    app.button(key="replay").click().run()
    until_ended(app)
    assert replays[-1] == ("--frontier", "--since", "7d", "--policy", "doubling", "--ceiling", "30", "--rate", "5")
    said = "\n".join(each.value for each in app.markdown).replace("\\", "")
    assert "Now: calls not recorded, mean delay" in said
    assert "Alternative, doubling, up to 30 s" in said
    assert len(app.get("plotly_chart")) == 1
    assert set(app.dataframe[0].value["plan"]) == {"now", "now, replayed", "tried", "current policy"}
    assert any("“now” is measured" in caption.value for caption in app.caption)
    app.number_input(key="replay_ceiling").set_value(40.0).run()
    assert any("has changed since" in caption.value for caption in app.caption)


def until_ended(app: AppTest) -> None:
    for _ in range(100):
        if not app.info:
            break
        app.run()
    assert not app.exception
    assert not app.info


def test_the_former_address_of_the_lab_leads_there(visit: Visit) -> None:
    app = visit("logs", what="schedule")
    assert not app.exception
    assert app.button(key="replay").label == "Replay"


def test_a_scale_of_tens_goes_to_both_sides_of_zero() -> None:
    assert charts.stretched(0) == 0
    assert charts.stretched(-9.9) == pytest.approx(-2)
    assert charts.stretched(9.9) == pytest.approx(2)


def test_replays_wait_for_their_turn_and_tell_their_problem() -> None:
    def compute(arguments: Sequence[str]) -> Any:
        if arguments == ("a",):
            raise NotComputed("too little")
        if arguments == ("b",):
            raise OSError("no such program")
        return {"said": list(arguments)}

    replays = process.Replays(compute)
    now = datetime.now(UTC)
    ended = {name: replays.start((name,), now) for name in "abcdefghi"}
    for replay in ended.values():
        assert replay.ended.wait(10)
    assert str(ended["a"].problem) == "too little"
    assert "could not be started" in str(ended["b"].problem)
    assert ended["c"].result == {"said": ["c"]}
    replays.start(("j",), now)
    assert replays.find(("a",)) is None
    assert replays.find(("j",)) is not None


@pytest.mark.parametrize(
    ("code", "problem", "reason"),
    [
        (1, "store: x\nerror: there is too little history\n", "there is too little history"),
        (2, "╭─ Error ─╮\n│ no policy │\n", "no policy"),
        (1, "Traceback (most recent call last):\n  File x\nValueError: postgresql://a:secret@b", "code 1"),
        (-9, "Killed", "code -9"),
    ],
)
def test_why_a_replay_failed_is_told_in_its_own_words_or_not_at_all(code: int, problem: str, reason: str) -> None:
    assert process._reason(code, problem).endswith(reason)


def test_a_replay_that_takes_too_long_is_ended() -> None:
    with pytest.raises(NotComputed, match="it took longer than 0 s and was ended"):
        process.replay_answer([], patience=0.01)
