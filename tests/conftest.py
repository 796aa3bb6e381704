import gc
import itertools
import os
import random
import shutil
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import postgres_server as postgres_server_of_tests
import pytest
import typer.main
import typer.testing
from emptying import emptied
from fakes import NOW, Clock, FakeProvider
from httpx._transports import default
from hypothesis import HealthCheck, settings
from log_setup import restored_log
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.storage import database, engines
from tracking.storage.database import Database

# Half of what it takes to collect the tests would be the search for garbage among what is imported: there is none.
gc.disable()
# What is made between two tests is little beside what it takes to look for it: most of it goes by itself.
GARBAGE = (50_000, 20, 50)
# The folders whose tests take longest, each longer than the next, and the files of others with a test of many seconds.
SLOW = (
    *("browser", "processes", "powerloss", "scenarios", "bench", "test_canaries.py", "test_simulation.py"),
    *("test_migrations.py", "test_notifier.py", "test_demonstration_history.py", "test_schema.py"),
    *("test_structure.py", "test_samples.py"),
)
# These share one console, which costs more than most of them: one worker takes them all. The first of them wants to see
# the console's first minute.
SHARING = ("test_first_minute.py", "test_tasks.py", "test_every_page.py", "test_refreshes.py", "test_demonstration.py")
# Whatever is installed, the processes that tests start run the code beside these tests.
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
# How fast a machine is says nothing of what is tested: no example is too slow, and none is missed.
settings.register_profile("whatever-the-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever-the-machine")
ENGINES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


class _Statements(LRUCache[Any, Any]):
    """Compiled statements by what they say and the driver they are for, whichever engine compiled them."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_all_engines(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_all_engines(key), value)


def _of_all_engines(key: Any) -> Any:
    dialect, *rest = key
    return type(dialect), dialect.dbapi, *rest


# Most tests open a store of their own, and each engine would compile every statement anew: a sixth of what they take.
STATEMENTS = _Statements(4000)


@event.listens_for(Engine, "engine_connect")
def _share_statements(connection: Connection) -> None:
    connection.execution_options(compiled_cache=STATEMENTS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow ones first, file by file and in turn at the head of each worker's share of the tests.

    Else a worker may come to the slowest test last, while the others have nothing left to do. Each worker of xdist
    begins with an equal part of the list. Within a file, and among the quick files, the order stays the random one.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files = [list(group) for _, group in itertools.groupby(items, lambda item: item.path)]
    sharing = sorted((file for file in files if _shares(file[0])), key=lambda file: SHARING.index(file[0].path.name))
    together = [item for file in sharing for item in file]
    files = [together, *(file for file in files if file not in sharing)] if together else files
    slow = sorted((file for file in files if _place(file[0]) in SLOW), key=_slowness)
    quick = [item for file in files if file not in slow for item in file]
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for number, file in enumerate(slow):
        shares[number % workers] += file
    done = 0
    for number, share in enumerate(shares):
        room = max(0, (len(items) - done) // (workers - number) - len(share))
        share.extend(quick[:room])
        del quick[:room]
        done += len(share)
    items[:] = [item for share in shares for item in share] + quick


def pytest_collection_finish() -> None:
    """From here on garbage is searched for as always, but never among what was imported."""
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    gc.enable()


def _shares(item: pytest.Item) -> bool:
    return item.path.parent.name == "browser" and item.path.name in SHARING


def _place(item: pytest.Item) -> str:
    """The test's folder, or its file where that is slower than others of its folder."""
    return item.path.name if item.path.name in SLOW else item.path.parent.name


def _slowness(file: list[pytest.Item]) -> tuple[bool, int]:
    return not _shares(file[0]), SLOW.index(_place(file[0]))


@pytest.fixture(autouse=True)
def log_of_each_test() -> Iterator[None]:
    """The log as it was: a command or a server that runs within a test configures that of the whole process."""
    with restored_log():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Each call of the command line would make its commands and their options anew: most of what many calls take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def read_certificates() -> Iterator[None]:
    """Each client of HTTP would read the certificates of the world anew, which takes longer than most calls."""
    make = httpx.create_ssl_context
    once = cache(lambda trust_env, *_read_from: make(trust_env=trust_env))

    def made(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return make(verify=verify, cert=cert, trust_env=trust_env)
        return once(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    with pytest.MonkeyPatch.context() as patch:
        for module in (httpx, default):
            patch.setattr(module, "create_ssl_context", made)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a running PostgreSQL server, for psycopg; nothing in it outlives the run."""
    with postgres_server_of_tests.running(durable=False) as address:
        yield address


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and returns its address for the store."""
    return partial(postgres_server_of_tests.new_database, postgres_server)


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


@pytest.fixture(scope="session")
def sqlite_store_of_all(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store that is emptied after each test: to open another takes longer than most tests.

    Nothing in it outlives the run, and most of the time of its tests would be the disk's.
    """
    file = shutil.copy(migrated_file, tmp_path_factory.mktemp("store") / "tracking.db")
    opened = database.connect(f"sqlite:///{file}")
    event.listen(opened._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    yield opened
    opened.close()


@pytest.fixture
def store(engine: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty store on each engine; one of its own at `sqlite_url` for a test that asks for that."""
    if engine == "sqlite" and "sqlite_url" in request.fixturenames:
        url = str(request.getfixturevalue("sqlite_url"))
        shutil.copy(request.getfixturevalue("migrated_file"), url.removeprefix("sqlite:///"))
        opened = database.connect(url)
        yield opened
        opened.close()
    else:
        shared = "postgres_store" if engine == "postgres" else "sqlite_store_of_all"
        opened = request.getfixturevalue(shared)
        yield opened
        opened.write(emptied)


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
def planner() -> PlanningContext:
    return PlanningContext(Policy(timedelta(seconds=1), timedelta(seconds=900)), random.Random(1))
