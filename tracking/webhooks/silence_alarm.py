"""The alarm that webhooks have fallen silent: its value, and reading the latest one. The learner raises it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection

from tracking.storage import facts
from tracking.storage.facts import FactKey


@dataclass(frozen=True, slots=True)
class SilenceAlarm:
    """An alarm about webhooks: silent since the last one came, raised at `alarmed_at`, over at `ended_at`."""

    since: datetime
    alarmed_at: datetime
    missed: int
    ended_at: datetime | None = None

    @classmethod
    def from_fact(cls, value: dict[str, Any]) -> Self:
        """Parse the value of the fact."""
        ended = value.get("ended_at")
        return cls(
            datetime.fromisoformat(value["since"]),
            datetime.fromisoformat(value["alarmed_at"]),
            int(value["missed"]),
            datetime.fromisoformat(ended) if ended else None,
        )

    def to_fact(self) -> dict[str, Any]:
        """Make the value of the fact: JSON, times in ISO format."""
        return {
            "since": self.since.isoformat(),
            "alarmed_at": self.alarmed_at.isoformat(),
            "missed": self.missed,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }


def latest_alarm(connection: Connection) -> SilenceAlarm | None:
    """Read the latest alarm, whether it lasts or has ended; None where there never was one."""
    stored = facts.get_fact(connection, FactKey.WEBHOOK_SILENCE)
    return SilenceAlarm.from_fact(stored[1]) if stored else None
