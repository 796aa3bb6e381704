"""How long after a completion was committed another system has it, over real sockets."""

import asyncio
import random
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support")]

from outgoing import THIS_MACHINE, Outgoing, Receiver  # noqa: E402 - found through the line above

from tracking.app.integration.delivery_loop import DeliveryLoop  # noqa: E402 - as above
from tracking.app.telemetry.heartbeat import Heartbeat  # noqa: E402 - as above
from tracking.delivery.deliverer import Deliverer  # noqa: E402 - as above
from tracking.delivery.posting import Poster  # noqa: E402 - as above
from tracking.forecasting.planner import PlanningContext  # noqa: E402 - as above
from tracking.forecasting.waits import Policy  # noqa: E402 - as above
from tracking.storage import database  # noqa: E402 - as above

ORDERS = 60
AIM = 2.0  # seconds


def measure(folder: Path) -> tuple[float, float]:
    """The median and the longest delay in seconds."""
    store = database.connect(f"sqlite:///{folder}/hooks.db")
    planner = PlanningContext(Policy(timedelta(seconds=1), timedelta(minutes=15)), random.Random(1))
    outgoing = Outgoing(store, planner)
    outgoing.clock.now = datetime.now(UTC)
    ids = [outgoing.accepted(f"hook-{number}", f"BLK-{number}") for number in range(ORDERS)]
    with Receiver() as receiver:
        receiver.secret = outgoing.subscribe("crm", receiver.url, "order.completed")
        committed = asyncio.run(_deliver(outgoing, ids, receiver))
        delays = [receiver.times[po_number] - at for po_number, at in committed.items()]
    store.close()
    middle, longest = statistics.median(delays), max(delays)
    print(f"order.completed at another system: {middle:.2f} s after its commit, {longest:.2f} s at most")
    return middle, longest


async def _deliver(outgoing: Outgoing, ids: list[int], receiver: Receiver) -> dict[str, float]:
    def now() -> datetime:
        return datetime.now(UTC)

    how: dict[str, Any] = {"owner": "bench/1/a", "clock": now, "allowed": THIS_MACHINE}
    deliverer = Deliverer(outgoing.store, Poster(THIS_MACHINE), outgoing.cipher, **how)
    loop = DeliveryLoop(deliverer, Heartbeat(outgoing.store, now, "bench/1/a"), now)
    task = asyncio.create_task(loop.run())
    committed = {}
    for number, order_id in enumerate(ids):
        outgoing.clock.now = now()
        await asyncio.to_thread(outgoing.polled, order_id, "Completed", f"hook-{number}", f"BLK-{number}")
        committed[f"hook-{number}"] = time.monotonic()
        await asyncio.sleep(0.05)
    for _ in range(600):
        if len(receiver.times) == len(ids):
            break
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return committed
