"""Learner: refits survival curves, estimates the webhooks' share, detects silent webhooks and late orders.

The results go into the store, for restarts and for the other processes on it, and into this process's forecasts. A
process without a poller only reads.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from tracking.forecasting import incidents
from tracking.forecasting.classes import RELIABLE_ORDERS
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.waits import FIRST_PRICE, GREATEST_PRICE, LEAST_PRICE, webhook_share
from tracking.storage import counters, facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.webhooks import silence_alarm

if TYPE_CHECKING:
    from tracking.forecasting.learned import ClassHistory

log = logging.getLogger(__name__)

REFIT_EVERY = 60.0
SILENCE_CHECK_EVERY = 10.0
LATE_CHECK_EVERY = 10.0
SWEEP_REQUEST_EVERY = timedelta(seconds=30)
AGAIN_AFTER = timedelta(minutes=10)  # a class whose orders only grew older

Fingerprint = tuple[int, float]


class Learner:
    """Keeps this process's forecasts up to date; with `learns`, as in a poller, also learns and stores them."""

    def __init__(
        self, database: Database, forecasts: Forecasts, clock: Callable[[], datetime], *, learns: bool
    ) -> None:
        self._database, self._forecasts, self._clock, self._learns = database, forecasts, clock, learns
        self._fitted: dict[str, tuple[Fingerprint, datetime]] = {}
        self._requested_at: datetime | None = None
        self._loaded = asyncio.Event()

    async def wait_loaded(self) -> None:
        """Wait until the forecasts of before are loaded; plans made sooner rest on first guesses."""
        await self._loaded.wait()

    async def refit(self) -> None:
        """Takes over what others learned, and learns from what has finished since."""
        if not self._loaded.is_set() or not self._learns:
            await asyncio.to_thread(self._load)
            self._loaded.set()
        if self._learns:
            job = await asyncio.to_thread(self._learn)
            await self._database.run(job)

    def _load(self) -> None:
        from tracking.forecasting import learned  # noqa: PLC0415 - numpy: at its first use, not a start

        with self._database.read() as connection:
            learned.load_forecasts(connection, self._forecasts)
            fact = facts.get_fact(connection, FactKey.PACING)
        pacing = fact[1] if fact else {}
        self._forecasts.price = _number(pacing.get("price"), FIRST_PRICE, LEAST_PRICE, GREATEST_PRICE)
        self._forecasts.webhook_share = _number(pacing.get("heard"), 0.0, 0.0, 1.0)
        self._forecasts.unproven_share = _number(pacing.get("unproven"), 0.0, 0.0, 1.0)

    def _learn(self) -> Callable[[Connection], None]:
        """Learns; returns the job that stores it."""
        from tracking.forecasting import lateness, learned  # noqa: PLC0415 - as above

        now = self._clock()
        with self._database.read() as connection:
            rows = learned.newest_orders(connection)
        announced, finished = learned.webhook_counts(rows)
        self._forecasts.webhook_share = webhook_share(announced, finished)
        histories = learned.history_by_class(rows, now)
        news = {name: of_class for name, of_class in histories.items() if self._has_changed(name, of_class, now)}
        forecasts = learned.fit_forecasts(news, self._forecasts.by_class(), relative=self._forecasts.relative)
        self._forecasts.replace(forecasts, learned.fit_finish_times(news, self._forecasts))

        def job(connection: Connection) -> None:
            learned.store_forecasts(connection, forecasts, now, self._forecasts.finish_times_by_class())
            lateness.update_late_times(connection, self._forecasts, now)
            mine = self._forecasts
            pacing = {"price": mine.price, "heard": mine.webhook_share, "unproven": mine.unproven_share}
            pacing |= {"announced": announced, "finished": finished}
            facts.set_fact(connection, FactKey.PACING, pacing, now)

        return job

    def _has_changed(self, name: str, history: ClassHistory, now: datetime) -> bool:
        finished = [one.by for one in history.intervals if math.isfinite(one.by)]
        fingerprint = len(finished), math.fsum(finished)
        before = self._fitted.get(name)
        # Orders that finished soon say when one is late only once all placed with them would have finished.
        ripens = len(history.finished) >= RELIABLE_ORDERS and not self._forecasts.finish_times(name).reliable
        if before is not None and before[0] == fingerprint and timedelta() <= now - before[1] < AGAIN_AFTER:
            return ripens
        self._fitted[name] = fingerprint, now
        return True

    async def check_silence(self) -> None:
        """Judges whether the webhooks are silent, and lets the poller find out where that is suspected."""
        if not self._loaded.is_set():
            return
        alarm = await asyncio.to_thread(self._judge_silence)
        if alarm is not None:
            now = self._clock()
            await self._database.run(
                lambda connection: facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), now)
            )

    async def find_late_orders(self) -> None:
        """Find which orders are late, and which of them in incidents, and store it for pages and alerts."""
        job = await asyncio.to_thread(self._late_orders) if self._learns else None
        if job is not None:
            await self._database.run(job)

    def _late_orders(self) -> Callable[[Connection], None] | None:
        """The job that stores what is not stored yet, their number in this hour among it; mostly there is none."""
        now = self._clock()
        with self._database.read() as connection:
            late, number = incidents.find_late_orders(connection, now), incidents.late_number(connection, now)
            moved = late != incidents.stored_late_orders(connection)
            counted = number == counters.late_in_hour(connection, now)
        if counted and not moved:
            return None

        def job(connection: Connection) -> None:
            if moved:
                incidents.store_late_orders(connection, late, now)
            counters.record_late(connection, number, now)

        return job

    def _judge_silence(self) -> silence_alarm.SilenceAlarm | None:
        """The alarm to be stored, if it is another than before."""
        from tracking.polling import webhook_silence  # noqa: PLC0415 - as above

        now = self._clock()
        with self._database.read() as connection:
            before = silence_alarm.latest_alarm(connection)
            if not self._learns:
                self._forecasts.webhooks_silent = before is not None and before.ended_at is None
                return None
            evidence, last_at = webhook_silence.gather_evidence(connection, self._forecasts, now)
        after = webhook_silence.update_alarm(before, evidence, last_at, now)
        self._forecasts.webhooks_silent = after is not None and after.ended_at is None
        due = self._requested_at is None or not timedelta() <= now - self._requested_at < SWEEP_REQUEST_EVERY
        if evidence.suspicious and not self._forecasts.webhooks_silent and due:
            self._forecasts.sweep_asked, self._requested_at = True, now
        if after == before:
            return None
        log.warning("webhooks %s", "are silent" if self._forecasts.webhooks_silent else "are heard again")
        return after


def _number(value: Any, otherwise: float, least: float, most: float) -> float:
    usable = isinstance(value, int | float) and math.isfinite(value)
    return min(max(float(value) if usable else otherwise, least), most)
