"""Rows that go whole because they name the erased person: drafts, and saved views in their name or filter."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, delete


def delete_rows(connection: Connection, key: Column[Any], values: Sequence[Any]) -> None:
    """Delete the rows with these keys. A step of a job of the writer."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    connection.execute(delete(key.table).where(key.in_(values)))
