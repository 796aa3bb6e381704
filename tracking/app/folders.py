"""Folders of the console: where its launcher is, and where `.env`, `.streamlit` and `data` are looked for.

A checkout keeps all of them together. The installed package brings the launcher along as data and keeps nothing beside
it: its folder is this one where there is a `.env` or a database, else the user's own for the data of programs.
"""

from pathlib import Path

from platformdirs import user_data_path

from tracking.settings.values import ENV_FILE

LAUNCHER = "dashboard.py"
DATABASE = Path("data") / "tracking.db"  # of the default of TRACKING_DATABASE_URL
_PACKAGE = Path(__file__).resolve().parents[1]
_IN_PACKAGE = "_console"  # where the wheel holds what a checkout has at its top


def is_checkout(folder: Path) -> bool:
    """Whether the folder is a checkout: the launcher beside the package, with the file that says how both are built."""
    return (folder / LAUNCHER).is_file() and (folder / "pyproject.toml").is_file()


def launcher() -> Path:
    """Find the launcher: of the checkout, else of the installed package; it may be in neither."""
    project = _PACKAGE.parent
    return (project if is_checkout(project) else _PACKAGE / _IN_PACKAGE) / LAUNCHER


def console_folder() -> Path:
    """Return the folder of the console for a command: this one where it has a `.env`, else where the console runs."""
    here = Path.cwd()
    return here if (here / ENV_FILE).is_file() else folder_of(launcher())


def folder_of(started: Path) -> Path:
    """Return the folder that a console with this launcher runs in; it need not be there yet."""
    if is_checkout(started.parent):
        return started.parent
    here = Path.cwd()
    own = (here / ENV_FILE).is_file() or (here / DATABASE).is_file()
    return here if own else user_data_path("fulfillment-tracking", appauthor=False)
