"""Errands run in real processes of their own: what they answer, and what is told when they do not."""

from pathlib import Path

import pytest

from tracking.errors import NotComputed
from tracking.polling.backtest import process as errands


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_DATABASE_URL", sqlite_url)


def test_an_errand_answers_with_what_the_command_prints() -> None:
    assert errands.answer(["orders"]) == []


def test_what_the_command_says_for_people_is_the_reason() -> None:
    with pytest.raises(NotComputed, match=r"^there is too little history to replay: fewer than 20 orders"):
        errands.answer(["replan"])


def test_an_errand_that_takes_too_long_is_ended() -> None:
    with pytest.raises(NotComputed, match="it took longer than 0 s and was ended"):
        errands.answer(["orders"], patience=0.01)


def test_one_errand_runs_at_a_time() -> None:
    with errands._TURN, pytest.raises(NotComputed, match="another one is being computed"):
        errands.answer(["orders"])
    assert errands.answer(["orders"]) == []


@pytest.mark.parametrize("code", [1, 2, -9])
def test_a_fault_is_told_without_what_it_says(code: int) -> None:
    reason = errands._reason(code, "Traceback (most recent call last):\n  File x\nValueError: postgresql://a:secret@b")
    assert reason == f"the process ended with code {code}"
