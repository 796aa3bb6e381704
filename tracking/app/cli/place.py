"""Which settings and which store a command works with: those of the console; and opening that store.

The console reads `.env` and keeps `data/` in its own folder (`folders`). A command does the same, unless it is run
where there is a `.env` or the store itself.
"""

from pathlib import Path

from sqlalchemy.engine import make_url

from tracking.app.cli.output import print_stderr
from tracking.app.folders import console_folder
from tracking.orders.observations import utc_now
from tracking.settings.loading import load, read
from tracking.settings.values import ENV_FILE, Settings
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.engines import file_of
from tracking.storage.team import approval_rule


def load_settings() -> Settings:
    """Load the console's settings. A relative path of the store is made one that holds from here.

    Raises SettingsError with every problem.
    """
    folder = console_folder()
    return _with_place(load(_env_file=folder / ENV_FILE), folder)


def read_settings() -> tuple[Settings, list[str]]:
    """Read the same, and what only looks wrong, which is not logged."""
    folder = console_folder()
    loaded, doubts = read(_env_file=folder / ENV_FILE)
    return _with_place(loaded, folder), doubts


def _with_place(loaded: Settings, folder: Path) -> Settings:
    file = file_of(loaded.database_url)
    if file is None:
        return loaded
    place = file.absolute() if file.exists() else (folder / file).absolute()
    return loaded.model_copy(update={"database_url": f"sqlite:///{place}"})


def print_store(url: str) -> None:
    """Say on stderr which database it is, without its password."""
    print_stderr(f"database: {file_of(url) or make_url(url).render_as_string(hide_password=True)}")


def enforce_approvals(store: Database, loaded: Settings) -> None:
    """Put the settings' approval limit in force, before a command places an order. Ends none: that the console does."""
    if loaded.approval_limit:
        approval_rule.enforce(store, loaded.approval_limit, utc_now())


def open_store(loaded: Settings | None = None, *, create: bool = False) -> Database:
    """Open the store of the settings and say which it is; made or migrated only with `create`.

    Raises NoStore, StoreUnusable, StoreBusy, and SettingsError.
    """
    url = (loaded or load_settings()).database_url
    print_store(url)
    return database.connect(url, create=create)
