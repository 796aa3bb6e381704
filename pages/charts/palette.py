"""Colours of the charts and tables, for the light and the dark theme."""

from collections.abc import Mapping
from dataclasses import dataclass

from tracking.orders.model import State


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme as hex texts.

    States differ in lightness as well as in hue, so that they can be told apart
    in grey; what needs a person stands out from what goes its way.
    """

    states: Mapping[str, str]
    other_state: str
    text: str
    muted: str
    grid: str
    primary: str
    ahead: str
    good: str
    warning: str
    trouble: str
    accent: str
    background: str

    def state(self, state: str) -> str:
        """The colour of a state; all words of the provider's that have no rules of their own share one."""
        return self.states.get(state, self.other_state)

    def tint(self, color: str, share: float = 0.32) -> str:
        """The colour thinned with the background, for what carries text of the theme's colour."""
        parts = zip(bytes.fromhex(color[1:]), bytes.fromhex(self.background[1:]), strict=True)
        return "#" + bytes(round(share * part + (1 - share) * behind) for part, behind in parts).hex()


LIGHT = Palette(
    states={
        State.QUEUED: "#aab4be",
        State.SENDING: "#8fa1b3",
        State.UNKNOWN: "#b3261e",
        State.REFUSED: "#8c1d18",
        State.ACCEPTED: "#a9cfe6",
        State.PENDING: "#6aa3c8",
        State.PROCESSING: "#1f5f8b",
        State.AWAITING_APPROVAL: "#d08c2c",
        State.COMPLETED: "#a8cfb4",
        State.CANCELLED: "#8a76b5",
    },
    other_state="#c9a227",
    text="#0f1720",
    muted="#5b6773",
    grid="#e3e8ec",
    primary="#1f5f8b",
    ahead="#aab4be",
    good="#2e7d4f",
    warning="#c77d1e",
    trouble="#b3261e",
    accent="#6d5f9c",
    background="#ffffff",
)
DARK = Palette(
    states={
        State.QUEUED: "#7d8b99",
        State.SENDING: "#93a5b7",
        State.UNKNOWN: "#ff8a80",
        State.REFUSED: "#d9635b",
        State.ACCEPTED: "#3f6f8f",
        State.PENDING: "#5b9bc9",
        State.PROCESSING: "#8cc4ea",
        State.AWAITING_APPROVAL: "#f0ae5a",
        State.COMPLETED: "#3d7a55",
        State.CANCELLED: "#b9a8ec",
    },
    other_state="#e6cc6a",
    text="#e8edf2",
    muted="#9aa7b3",
    grid="#2d3945",
    primary="#7fc0ea",
    ahead="#5f6f7e",
    good="#6fcf97",
    warning="#f0ae5a",
    trouble="#ff8a80",
    accent="#b9a8ec",
    background="#10161c",
)
