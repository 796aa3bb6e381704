"""Brings the search of a store up to date at once, where a worker would take one small step after the other."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from tracking.storage.search import indexing


def catch_up(write: Callable[[Callable[[Connection], bool]], bool], now: datetime) -> None:
    """Do all steps that are left, each by `Database.write`."""
    while write(lambda connection: indexing.step(connection, now)):
        pass
