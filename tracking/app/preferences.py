"""Preferences: what somebody chose for their screen, stored so that it outlives the browser's tab.

They belong to a person who is signed in or to a browser, and end a week after the last visit.
"""

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import select

from tracking.app import drafts
from tracking.storage.database import Database
from tracking.storage.tables import DRAFTS

RENEWED_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Preferences:
    """How somebody acts and reads.

    Attributes:
        name: as whom they act where nobody signs in; empty until they were asked.
        times: "UTC", "local" or "relative".
    """

    name: str = ""
    times: str = "UTC"


def load_preferences(database: Database, owner: str, now: datetime) -> Preferences:
    """Read the owner's preferences, the defaults without any; a visit a day keeps them."""
    query = select(DRAFTS.c.saved_at, DRAFTS.c.content).where(DRAFTS.c.owner == owner)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or not isinstance(row.content, dict):
        return Preferences()
    names = {field.name for field in fields(Preferences)}
    preferences = Preferences(**{name: str(value) for name, value in row.content.items() if name in names})
    if now - row.saved_at > RENEWED_AFTER:
        save_preferences(database, owner, preferences, now)
    return preferences


def save_preferences(database: Database, owner: str, preferences: Preferences, now: datetime) -> None:
    """Store the owner's preferences in place of those before."""
    drafts.save_draft(database, owner, asdict(preferences), now)
