"""Holdings: what a process has in the store for itself alone, given up at its end, or taken from one that was killed.

Leases of polls, sends, jobs and deliveries, the lead of alerts, the right to remove what is old, and heartbeats. All of
it ends by itself, but only a while after its owner did: until then nobody else does that work. Steps of a job.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from tracking.storage import facts, leases
from tracking.storage.integration import alerts, deliveries
from tracking.storage.retention import lease as removal


def release_holdings(connection: Connection, owners: Sequence[str], now: datetime) -> None:
    """Give up all that these owners hold, whose work has ended: others may go on with it at once."""
    leases.release_leases(connection, owners)
    deliveries.release_owners(connection, owners)
    alerts.release_lead(connection, owners, now)
    for owner in owners:
        removal.release_lease(connection, owner, now)
    facts.withdraw_beats(connection, owners)


def take_over(connection: Connection, us: str, now: datetime) -> Sequence[str]:
    """Release what processes of this host hold that are gone; returns these. `us` is the owner that begins now."""
    owners = {*leases.lease_owners(connection), *deliveries.lease_owners(connection)}
    owners |= facts.beating_owners(connection) | removal.lease_owners(connection)
    lead = alerts.current_lead(connection)
    owners |= {lead.owner} if lead and lead.until > now else set()
    gone = sorted(owner for owner in owners if leases.is_gone(owner, us))
    if gone:
        release_holdings(connection, gone, now)
    return gone
