"""Loop that delivers events to the other systems that subscribed to them."""

import asyncio
from datetime import timedelta
from functools import partial

from tracking.app.loops import WATCHDOG_TIMEOUT, CallingLoop, Clock, run_loop
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.delivery.deliverer import PLACES, Deliverer

TIDY_EVERY = 60.0


class DeliveryLoop(CallingLoop):
    """Delivers events to those who subscribed to them, PLACES at once; finds orders that became late for them."""

    name = "deliveries"
    places = PLACES
    task_name = "delivery"
    pause = 0.5

    def __init__(
        self, deliverer: Deliverer, heartbeat: Heartbeat, clock: Clock, timeout: timedelta = WATCHDOG_TIMEOUT
    ) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._deliverer = deliverer
        self._full = False

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(run_loop("late orders for webhooks", self._deliverer.note_late_orders, 1.0))
            group.create_task(run_loop("old deliveries", self._deliverer.tidy, TIDY_EVERY))

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        self._watch("turn")
        leased = await self._deliverer.begin_due(self._clock(), self._free_places())
        self._full = bool(leased)
        for each in leased:
            self._start(group, partial(self._deliverer.deliver, each), None)

    def _more_waits(self) -> bool:
        return self._full
