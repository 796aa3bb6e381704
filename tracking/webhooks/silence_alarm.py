"""Alarm that webhooks are silent: as it is stored, and what it takes to raise it. The learner raises it."""

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection

from tracking.forecasting.waits import MOST_WEBHOOK_SHARE, webhook_share
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.inbox import last_webhook_at

COMPLETIONS_JUDGED = 100
ALARMING = 13.0  # nats: about three finished orders in a row that did not announce themselves, where 99 of 100 do


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


def nats_each(webhook_share: float) -> float:
    """How much one finished order that no webhook announced speaks for silence, where such a share of them does."""
    return -math.log(1 - min(max(webhook_share, 0.0), MOST_WEBHOOK_SHARE))


@dataclass(frozen=True, slots=True)
class Arming:
    """What the alarm rests on: whether a webhook ever came, and of the newest completed orders placed here, how many.

    `announced` of `finished` were announced by a webhook before a poll found them complete; both None before anything
    was learned.
    """

    heard: bool
    announced: int | None = None
    finished: int | None = None

    @property
    def needed(self) -> int | None:
        """About so many orders found complete without a webhook raise the alarm; None where no number would yet.

        Each of them lowers the share that is expected.
        """
        if not self.heard or not self.announced or self.finished is None:
            return None
        shares = (webhook_share(self.announced, self.finished + missed) for missed in range(1, COMPLETIONS_JUDGED + 1))
        return next((n for n, share in enumerate(shares, 1) if n * nats_each(share) >= ALARMING), None)


def read_arming(connection: Connection) -> Arming:
    """Read what the alarm rests on, as it was learned last."""
    pacing = facts.get_fact(connection, FactKey.PACING)
    counts = {name: pacing.value[name] for name in ("announced", "finished") if pacing and name in pacing.value}
    return Arming(last_webhook_at(connection) is not None, **counts)
