"""What all charts have alike."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from tracking.orders.wording import TIME_ZONE


def laid_out(figure: go.Figure, height: int, **more: Any) -> go.Figure:
    """Give a figure what all have alike; `height` in pixels, `more` goes to plotly's layout."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.2, "title": None},
        hovermode="closest",
        dragmode=False,
        **more,
    )
    return figure


def in_zone(times: pd.Series) -> pd.Series:
    """The times as the reader's clocks show them: plotly writes all times without their zone."""
    return pd.to_datetime(times, utc=True).dt.tz_convert(TIME_ZONE.get()).dt.tz_localize(None)
