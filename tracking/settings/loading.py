"""Loads the settings of this process; reports every problem at once, and logs what only looks wrong."""

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tracking.errors import Problem, SettingsError
from tracking.orders.policy.approval_limit import APPROVAL_OFF
from tracking.settings import env_file, names
from tracking.settings.addresses import is_local_address
from tracking.settings.values import ENV_FILE, PREFIX, Settings
from tracking.settings.variables import file_names, files_of, set_variables, values_in_files, values_in_folder

log = logging.getLogger(__name__)
_PLAIN_WORDS = {  # by pydantic's types of errors
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
}


def load(**overrides: Any) -> Settings:
    """Load the settings as `read` does; what only looks wrong is logged, once in a process."""
    loaded, doubts = read(**overrides)
    for doubt in doubts:
        _warn_once(doubt)
    return loaded


def read(**overrides: Any) -> tuple[Settings, list[str]]:
    """Read and validate the settings, from the environment and from `.env`, or the file that `_env_file` names.

    A value may stand in a file that its variable with _FILE names, or in the folder TRACKING_SECRETS_DIR. Returns what
    only looks wrong, too. Raises SettingsError with every problem, each naming the variable and what to do. Values are
    never repeated.
    """
    path = Path(overrides.setdefault("_env_file", ENV_FILE))
    lines, fields = env_file.read_env_file(path), list(Settings.model_fields)
    variables = set_variables(path, PREFIX)
    values, wrong_files = values_in_files(variables, fields, path.parent, PREFIX)
    in_folder, wrong_secrets = values_in_folder(variables, path.parent, PREFIX)
    given = {*os.environ, *(line.key or "" for line in lines), *(PREFIX + name.upper() for name in in_folder)}
    spellings = [*fields, *file_names(fields)]
    wrong_names = names.misspelt_names(given, PREFIX, spellings)
    problems = [*env_file.dropped_lines(path, lines, PREFIX), *wrong_names, *wrong_files, *wrong_secrets]
    from_folder = {name: value for name, value in in_folder.items() if name in fields and name not in variables}
    sources = from_folder | values | overrides
    try:
        loaded = Settings(**sources)
    except ValidationError as exc:
        others = _problems(exc) + _contradictions(exc, sources)
        if wrong_files or wrong_secrets:  # what could not be read may be all that is missing beside the rest
            others = [problem for problem in others if problem.where]
        raise SettingsError(problems + others) from None
    if problems:
        raise SettingsError(problems)
    ignored = (
        *_misnamed(path),
        *env_file.unread_lines(lines, PREFIX),
        *names.names_without_effect(given, lines, PREFIX, spellings),
    )
    return loaded, [*ignored, *_doubts(loaded)]


def _misnamed(path: Path) -> Iterator[str]:
    """Say where a file was given an ending by the editor it was made with."""
    if not path.exists() and (other := path.with_name(f"{path.name}.txt")).is_file():
        yield f"{other} is not read: call it {path.name}"


def _doubts(settings: Settings) -> Iterator[str]:
    if settings.approval_above and settings.approval_limit is None:
        yield APPROVAL_OFF
    for name, address in (("API_BASE_URL", settings.api_base_url), ("PUBLIC_URL", settings.public_url)):
        if address and address.startswith("http:") and not is_local_address(address):
            yield f"{PREFIX}{name} is http: secrets can be read on the way; use https"


@functools.cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def files_of_lists() -> list[Path]:
    """List the files beside `.env` that say who may come in."""
    return files_of(("operators", "viewers"), Path(ENV_FILE), PREFIX)


@functools.cache
def process_settings() -> Settings:
    """The settings this process was started with, read once: what the launcher checked is what the pages go by."""
    return load()


def _contradictions(error: ValidationError, overrides: dict[str, Any]) -> list[Problem]:
    """The contradictions among the right fields, the others unset: pydantic looks only where all are right."""
    wrong = {str(detail["loc"][0]) for detail in error.errors(include_input=False) if detail["loc"]}
    if not wrong:
        return []
    unset = {name: Settings.model_fields[name].get_default() for name in wrong}
    try:
        Settings(**(overrides | unset))
    except ValidationError as exc:
        variables = [f"{PREFIX}{name.upper()}" for name in wrong]
        return [problem for problem in _problems(exc) if not any(name in problem.message for name in variables)]
    return []


def _problems(error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors(include_input=False, include_url=False):
        where = f"TRACKING_{str(detail['loc'][0]).upper()}" if detail["loc"] else ""
        if (words := _PLAIN_WORDS.get(detail["type"])) is not None:
            message = words.format_map(detail.get("ctx", {})).replace("'", "")
        else:
            message = detail["msg"].removeprefix("Value error, ")
        problems += [Problem(where, part) for part in message.splitlines()]
    return problems
