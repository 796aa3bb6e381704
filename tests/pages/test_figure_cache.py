"""Figures are drawn once for all who look at the same data in the same theme and zone."""

from zoneinfo import ZoneInfo

import plotly.graph_objects as go
import plotly.io
import pytest

import figure_cache
from tracking.orders.wording import TIME_ZONE


def test_a_figure_is_drawn_once_for_each_data_theme_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def draw() -> go.Figure:
        drawn.append("drawn")
        return go.Figure(go.Bar(x=["a", "b"], y=[1, 2])).update_layout(height=200)

    data = object()
    monkeypatch.setattr("elements.is_dark", lambda: False)
    first = figure_cache.figure(data, "bars", draw)
    assert figure_cache.figure(data, "bars", draw) is first
    assert len(drawn) == 1
    assert figure_cache.figure(object(), "bars", draw) is not first
    assert figure_cache.figure(data, "others", draw) is not first
    monkeypatch.setattr("elements.is_dark", lambda: True)
    assert figure_cache.figure(data, "bars", draw) is not first
    monkeypatch.setattr("elements.is_dark", lambda: False)
    token = TIME_ZONE.set(ZoneInfo("Europe/Berlin"))
    assert figure_cache.figure(data, "bars", draw) is not first
    TIME_ZONE.reset(token)
    assert len(drawn) == 5


def test_a_remembered_figure_looks_as_it_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elements.is_dark", lambda: False)
    plain = go.Figure(go.Scatter(x=[1, 2, 3], y=[3.5, None, 1.25], customdata=["x", "y", "z"]))
    figure = figure_cache.figure(object(), "dots", lambda: plain)
    assert plotly.io.to_json(figure, validate=False) == plotly.io.to_json(plain, validate=False)
    assert figure.to_dict() is figure.to_dict(), "translated once"
