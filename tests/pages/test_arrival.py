"""A part that the browser asks for from the page before, after another one was opened."""

from types import SimpleNamespace

import pytest
import streamlit

import address
import arrival
import elements
import times


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The run that is under way; the page "jobs" was opened with the job 7."""
    context = SimpleNamespace(page_script_hash="jobs", pages_manager=SimpleNamespace(main_script_hash="main"))
    monkeypatch.setattr(arrival, "get_script_run_ctx", lambda: context)
    monkeypatch.setattr(streamlit, "session_state", {})
    streamlit.query_params.from_dict({"job": "7"})
    arrival.note("the page of jobs")
    return context


def test_what_the_page_before_asks_for_is_not_drawn_but_leads_to_the_page_that_is_open(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[tuple[str, dict[str, list[str]]]] = []

    def switch(page: str, query_params: dict[str, list[str]]) -> None:
        went.append((page, query_params))
        raise InterruptedError  # as Streamlit ends the run there

    monkeypatch.setattr(streamlit, "switch_page", switch)
    drawn: list[str] = []
    monkeypatch.setattr(streamlit, "fragment", lambda draw, **_: draw)
    monkeypatch.setattr(times, "apply", lambda: None)
    part = elements.live("5s", "part")(lambda: drawn.append(run.page_script_hash))
    for asked_by in ("jobs", "main"):
        run.page_script_hash = asked_by
        part()
    run.page_script_hash = "orders"
    address.change({"view": "attention"})  # its widgets, which the browser sends along, change no address any more
    with pytest.raises(InterruptedError):
        part()
    assert drawn == ["jobs", "main"]
    assert went == [("the page of jobs", {"job": ["7"]})]


def test_an_address_that_a_part_changed_is_the_one_that_is_gone_back_to(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[dict[str, list[str]]] = []
    monkeypatch.setattr(streamlit, "switch_page", lambda _, query_params: went.append(query_params))
    address.change({"outcome": "done"})
    run.page_script_hash = "orders"
    arrival.go_on()
    assert went == [{"job": ["7"], "outcome": ["done"]}]
