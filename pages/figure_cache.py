"""Cache of drawn figures, shared by all pages, for as long as the data they were drawn from is the newest.

To draw a figure, and to translate it for the browser, costs a hundred times as much as reading its data.
"""

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

import plotly.graph_objects as go

import elements
from tracking.orders.wording import TIME_ZONE

REMEMBERED = 128  # data of some spans, in two themes and a few time zones


class _TranslatedOnce(go.Figure):  # type: ignore[misc]  # plotly declares no types
    """A figure that does not change any more, so that it is translated for the browser once and not in each run."""

    @functools.cached_property
    def _translated(self) -> dict[str, Any]:
        translated: dict[str, Any] = super().to_dict()
        return translated

    def to_dict(self) -> dict[str, Any]:
        """The figure as plotly's JSON encoder takes it; the same one each time."""
        return self._translated


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One figure: what it is drawn of, and how it looks to whoever sees it."""

    data: Hashable
    name: str
    dark: bool
    zone: tzinfo
    draw: Callable[[], go.Figure] = field(compare=False)


@functools.lru_cache(maxsize=REMEMBERED)
def _drawn(drawing: _Drawing) -> go.Figure:
    return _TranslatedOnce(drawing.draw())


def figure(data: Hashable, name: str, draw: Callable[[], go.Figure]) -> go.Figure:
    """The figure of this name that `draw` makes of the data, in the theme and the zone of the visitor.

    Nobody may change it. `data` has to be equal to nothing that another figure of that name would be drawn of.
    """
    return _drawn(_Drawing(data, name, elements.is_dark(), TIME_ZONE.get(), draw))
