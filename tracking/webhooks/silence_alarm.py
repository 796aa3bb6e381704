"""The alarm about silent webhooks as a fact of the store: since when nothing was heard, and when that ended.

While it lasts nobody counts on webhooks.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection

from tracking.storage import facts

KEY = "silence"


@dataclass(frozen=True, slots=True)
class Silence:
    """An alarm about webhooks: silent since the last one came, noticed at `alarmed_at`, over at `ended_at`."""

    since: datetime
    alarmed_at: datetime
    missed: int
    ended_at: datetime | None = None

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """From the form it is stored in."""
        ended = value.get("ended_at")
        return cls(
            datetime.fromisoformat(value["since"]),
            datetime.fromisoformat(value["alarmed_at"]),
            int(value["missed"]),
            datetime.fromisoformat(ended) if ended else None,
        )

    def stored(self) -> dict[str, Any]:
        """The form it is stored in."""
        return {
            "since": self.since.isoformat(),
            "alarmed_at": self.alarmed_at.isoformat(),
            "missed": self.missed,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }


def known(connection: Connection) -> Silence | None:
    """The latest alarm, whether it lasts or has ended."""
    kept = facts.fact(connection, KEY)
    return Silence.read(kept[1]) if kept else None
