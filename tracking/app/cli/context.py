"""The context of a command: loads the settings that it works with, and opens their database.

They are those of the console, which reads `.env` and has `data/` in its own folder (`folders`), unless the command is
run in a folder that has a `.env` or the database file itself.
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
    """Load the console's settings, with the path of the database file made absolute.

    Raises SettingsError with every problem.
    """
    folder = console_folder()
    return _with_absolute_path(load(_env_file=folder / ENV_FILE), folder)


def read_settings() -> tuple[Settings, list[str]]:
    """Load the same without logging anything; also returns the warnings about what only looks wrong."""
    folder = console_folder()
    loaded, doubts = read(_env_file=folder / ENV_FILE)
    return _with_absolute_path(loaded, folder), doubts


def _with_absolute_path(loaded: Settings, folder: Path) -> Settings:
    file = file_of(loaded.database_url)
    if file is None:
        return loaded
    path = file.absolute() if file.exists() else (folder / file).absolute()
    return loaded.model_copy(update={"database_url": f"sqlite:///{path}"})


def print_store(url: str) -> None:
    """Print on stderr which database is used, without its password."""
    print_stderr(f"database: {file_of(url) or make_url(url).render_as_string(hide_password=True)}")


def enforce_approvals(store: Database, loaded: Settings) -> None:
    """Put the settings' approval limit in force before a command places an order; only the console ever lifts one."""
    if loaded.approval_limit:
        approval_rule.enforce(store, loaded.approval_limit, utc_now())


def open_store(loaded: Settings | None = None, *, create: bool = False) -> Database:
    """Open the database of the settings and print which it is; created or migrated only with `create`.

    Raises NoStore, StoreUnusable, StoreBusy, and SettingsError.
    """
    url = (loaded or load_settings()).database_url
    print_store(url)
    return database.connect(url, create=create)
