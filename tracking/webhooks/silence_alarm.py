"""The alarm that webhooks have fallen silent: its value, and reading the latest one. The learner raises it."""

from dataclasses import asdict, dataclass
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
        times = {name: datetime.fromisoformat(at) for name, at in value.items() if name != "missed" and at}
        return cls(missed=int(value["missed"]), **times)

    def to_fact(self) -> dict[str, Any]:
        """Make the value of the fact: JSON, times in ISO format."""
        values = asdict(self)
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def latest_alarm(connection: Connection) -> SilenceAlarm | None:
    """Read the latest alarm, whether it lasts or has ended; None where there never was one."""
    stored = facts.get_fact(connection, FactKey.WEBHOOK_SILENCE)
    return SilenceAlarm.from_fact(stored[1]) if stored else None
