"""The command console: start the pages, and what works beside them, by Streamlit."""

import importlib.util
import os
import re
import subprocess  # nosec B404 - Streamlit alone is run
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tracking import files
from tracking.app.cli.context import load_settings, print_store
from tracking.app.cli.output import print_stderr
from tracking.app.folders import folder_of, launcher
from tracking.errors import Problem, SettingsError

CONFIG = Path(".streamlit") / "config.toml"


def console_command(
    *,
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the pages; 8501.")] = None,
    base_path: Annotated[str | None, typer.Option(help="Path below which a proxy serves the pages.")] = None,
) -> None:
    """Start the console: pages, webhook receiver, poller and sender. Other options are handed to Streamlit."""
    started = launcher()
    if not started.is_file() or importlib.util.find_spec("streamlit") is None:
        message = "the pages are not installed here: install the package fulfillment-tracking from its wheel"
        raise SettingsError([Problem("console", message)])
    folder = folder_of(started)
    try:
        files.make_folder(folder)
        os.chdir(folder)
    except OSError as exc:
        message = f"the folder {folder} cannot be used ({exc.strerror}): start in a folder that has a .env"
        raise SettingsError([Problem("console", message)]) from exc
    print_store(load_settings().database_url)
    named = {"server.address": host, "server.port": port, "server.baseUrlPath": base_path}
    options = [f"--{name}={value}" for name, value in named.items() if value is not None]
    command = [sys.executable, "-m", "streamlit", "run", str(started), *_own_options(folder, started), *options]
    _become([*command, *context.args])


def _own_options(folder: Path, started: Path) -> Iterator[str]:
    """What the folder's own configuration says, as options: Streamlit lets that beside a launcher win over it."""
    file = folder / CONFIG
    if not file.is_file() or file.samefile(started.parent / CONFIG):
        return
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        raise SettingsError([Problem(str(CONFIG), "cannot be read: it must be TOML in UTF-8")]) from None
    for name, value in _flat(values):
        if _variable(name) not in os.environ:
            each = value if isinstance(value, list) else [value]
            yield from (f"--{name}={str(one).lower() if isinstance(one, bool) else one}" for one in each)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _variable(option: str) -> str:
    """Streamlit's name of an option in the environment."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", option))
    return f"STREAMLIT_{words.replace('.', '_')}".upper()


def _become(command: list[str]) -> None:
    """Run the command in place of this process, so that signals reach it; beside it where that cannot be done."""
    print_stderr(f"console: {Path.cwd()}")
    sys.stderr.flush()
    if sys.platform == "win32":
        raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - made above  # nosec B603
    os.execv(command[0], command)  # noqa: S606 - as above  # nosec B606
