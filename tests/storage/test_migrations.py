import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from fakes import NOW
from sqlmodel import SQLModel

from tracking.errors import StoreUnusable
from tracking.storage import database, engines, migrations
from tracking.storage.integration.tables import DELIVERIES, SUBSCRIPTIONS
from tracking.storage.migrations import HEAD
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.tables import OUTBOX
from tracking.storage.team import tables

FOLDER = Path(migrations.__file__).parent
for table in (tables.JOBS, SEARCH_TEXTS, DELIVERIES):
    assert table is SQLModel.metadata.tables[table.name]  # they are part of what is compared


def config(connection: sa.Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.attributes["connection"] = connection
    return made


def on(url: str, job: Callable[[sa.Connection], Any]) -> Any:
    engine = engines.make_engine(url, writes=True)
    try:
        with engine.begin() as connection:
            return job(connection)
    finally:
        engine.dispose()


def differences(connection: sa.Connection) -> Any:
    """All that differs but for the search's index, which no table's definition can express: see test_indexing."""

    def is_compared(_item: Any, name: str | None, *_: object) -> bool:
        return not (name or "").startswith(("search_index", "ix_search_trigrams"))

    options = {"compare_type": True, "include_object": is_compared}
    return compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata)


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_a_fresh_store_is_what_the_tables_say(empty_url: str) -> None:
    assert engines.revision(empty_url) is None
    assert engines.migrate(empty_url) is None
    assert engines.revision(empty_url) == HEAD
    assert on(empty_url, differences) == []


def test_a_second_migration_changes_nothing(empty_url: str) -> None:
    engines.migrate(empty_url)
    assert engines.migrate(empty_url) == HEAD


def test_a_store_can_go_all_the_way_back_and_forth(empty_url: str) -> None:
    engines.migrate(empty_url)
    on(empty_url, lambda connection: command.downgrade(config(connection), "base"))
    assert on(empty_url, lambda connection: sa.inspect(connection).get_table_names()) == ["alembic_version"]
    on(empty_url, lambda connection: command.upgrade(config(connection), "head"))
    assert on(empty_url, differences) == []


def test_what_waits_for_an_approval_is_not_let_go_by_going_back(empty_url: str) -> None:
    engines.migrate(empty_url)
    adding = sa.insert(OUTBOX).values(order_id=1, request={}, done=False, held=True, next_attempt_at=NOW)
    on(empty_url, lambda connection: connection.execute(adding))
    with pytest.raises(CommandError, match=r"wait for an approval \(1\)"):
        on(empty_url, lambda connection: command.downgrade(config(connection), "0008"))
    assert engines.revision(empty_url) == migrations.HEAD
    # What was declined is done, and stays so.
    on(empty_url, lambda connection: connection.execute(sa.update(OUTBOX).values(done=True)))
    on(empty_url, lambda connection: command.downgrade(config(connection), "0008"))
    assert on(empty_url, lambda connection: connection.execute(sa.text("SELECT done FROM outbox")).scalar())


def test_encrypted_addresses_are_not_left_to_a_version_that_cannot_read_them(empty_url: str) -> None:
    engines.migrate(empty_url)
    row = {"name": "crm", "url": "https://crm.example.com/#encrypted", "sealed_url": "gAAAA", "created_at": NOW}
    row |= {"event_types": [], "secrets": [], "state": "active", "state_at": NOW, "failures": 0}
    row |= {"state_by": "ann", "created_by": "ann"}
    on(empty_url, lambda connection: connection.execute(sa.insert(SUBSCRIPTIONS).values(row)))
    with pytest.raises(CommandError, match=r"encrypted addresses of outgoing webhooks \(1\)"):
        on(empty_url, lambda connection: command.downgrade(config(connection), "0011"))
    assert engines.revision(empty_url) == HEAD
    earlier = sa.update(SUBSCRIPTIONS).values(url="https://crm.example.com/hook", sealed_url=None)
    on(empty_url, lambda connection: connection.execute(earlier))
    for go, to in ((command.downgrade, "0011"), (command.upgrade, "head")):
        on(empty_url, lambda connection, go=go, to=to: go(config(connection), to))  # type: ignore[misc]  # the loop's values
    read = sa.select(SUBSCRIPTIONS.c.url, SUBSCRIPTIONS.c.receives_from)
    assert tuple(on(empty_url, lambda connection: connection.execute(read).one())) == (
        "https://crm.example.com/hook", NOW,
    )  # fmt: skip


def test_a_store_of_a_newer_version_is_left_as_it_is(empty_url: str) -> None:
    engines.migrate(empty_url)
    on(empty_url, lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreUnusable, match="newer version"):
        engines.migrate(empty_url)
    assert engines.revision(empty_url) == "9999"
    with pytest.raises(StoreUnusable, match="newer version"):
        database.connect(empty_url)


def test_a_database_of_another_program_is_left_as_it_is(empty_url: str) -> None:
    on(empty_url, lambda connection: connection.execute(sa.text("CREATE TABLE cats (name TEXT)")))
    with pytest.raises(StoreUnusable, match="another program"):
        engines.migrate(empty_url)
    assert on(empty_url, lambda connection: sa.inspect(connection).get_table_names()) == ["cats"]


@pytest.mark.postgres
def test_a_server_that_was_not_migrated_is_told_to_a_person(new_postgres_url: Callable[[], str]) -> None:
    with pytest.raises(StoreUnusable, match="tracking migrate makes one"):
        database.connect(new_postgres_url())


def exits_of_three_at_once(statement: str, url: str) -> list[int]:
    code = f"import sys; from tracking.storage.database import connect, migrate; {statement}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [subprocess.Popen([sys.executable, "-c", code, url], env=environment) for _ in range(3)]
    return [process.wait() for process in started]


def test_processes_that_migrate_at_once_wait_for_each_other(engine: str, empty_url: str) -> None:
    # On SQLite whoever opens a store migrates it.
    statement = "connect(sys.argv[1]).close()" if engine == "sqlite" else "migrate(sys.argv[1])"
    assert exits_of_three_at_once(statement, empty_url) == [0, 0, 0]
    assert on(empty_url, differences) == []
