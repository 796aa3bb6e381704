"""Sending as the loop does it, for tests of what is sent and recorded."""

import asyncio
from datetime import datetime

from tracking.submissions.sender import SENDS_AT_ONCE, Sender


async def send_once(sender: Sender, now: datetime, free: int = SENDS_AT_ONCE) -> int:
    """Sends what is due, `free` orders at the most, and waits for all of them; returns how many were sent."""
    attempts = await sender.begin_due(now, free)
    await asyncio.gather(*(sender.send(attempt) for attempt in attempts))
    return len(attempts)
