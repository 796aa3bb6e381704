"""Reads variables from the environment, `.env`, and files of their own."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values

from tracking.errors import Problem

FILE_SUFFIX = "_file"
SECRETS_DIR = "secrets_dir"
MAX_BYTES = 64 * 1024  # of a file that holds a value


def set_variables(env_file: Path, prefix: str) -> dict[str, str]:
    """Collect the variables with this prefix, in lower case and without it; what is set to nothing is not set.

    The environment counts before `.env`, also where it sets something to nothing.
    """
    given = [*dotenv_values(env_file, encoding="utf-8-sig").items(), *os.environ.items()]
    ours = {name[len(prefix) :].lower(): value for name, value in given if name.upper().startswith(prefix)}
    return {name: value for name, value in ours.items() if value and value.strip()}


def file_names(fields: Collection[str]) -> list[str]:
    """List the names of settings that name the file of a value: that of each field but the folder of such files."""
    return [name + FILE_SUFFIX for name in fields if name != SECRETS_DIR]


def values_in_files(
    variables: Mapping[str, str], fields: Collection[str], folder: Path, prefix: str
) -> tuple[dict[str, str], list[Problem]]:
    """Read the values that stand in files which variables name, by field; and what is wrong with such files.

    A relative path begins in the folder. Neither a path nor a file's content is repeated: either may be a secret.
    """
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(set(variables).intersection(file_names(fields))):
        field, variable = name.removesuffix(FILE_SUFFIX), f"{prefix}{name.upper()}"
        if field in variables:
            problems.append(Problem(variable, f"is set beside {prefix}{field.upper()}: unset one of the two"))
            continue
        try:
            values[field] = _content(folder / variables[name].strip(), prefix + field)
        except ValueError as exc:
            problems.append(Problem(variable, str(exc)))
    return values, problems


def values_in_folder(variables: Mapping[str, str], folder: Path, prefix: str) -> tuple[dict[str, str], list[Problem]]:
    """Read the files in TRACKING_SECRETS_DIR that are called like settings; and what is wrong with such files.

    Every name with the prefix is among the values, also one that is no setting.
    """
    values: dict[str, str] = {}
    problems: list[Problem] = []
    variable = f"{prefix}{SECRETS_DIR.upper()}"
    try:
        entries = entries_of_folder(variables, folder, prefix)
    except OSError as exc:
        return {}, [Problem(variable, f"names no folder that can be read ({exc.strerror})")]
    for entry in entries:
        try:
            values[entry.name[len(prefix) :].lower()] = _content(entry, entry.name)
        except ValueError as exc:
            problems.append(Problem(f"{variable}, {entry.name}", str(exc)))
    return values, problems


def entries_of_folder(variables: Mapping[str, str], folder: Path, prefix: str) -> list[Path]:
    """List the files in TRACKING_SECRETS_DIR with this prefix. Raises OSError where it cannot be read."""
    if SECRETS_DIR not in variables:
        return []
    place = folder / variables[SECRETS_DIR].strip()
    return sorted(entry for entry in place.iterdir() if entry.name.upper().startswith(prefix))


def files_of(fields: Collection[str], env_file: Path, prefix: str) -> list[Path]:
    """List the files beside `.env` where the values of these fields stand."""
    variables, folder = set_variables(env_file, prefix), env_file.parent
    names = [name + FILE_SUFFIX for name in fields if name + FILE_SUFFIX in variables]
    called_alike = {f"{prefix}{name}".lower() for name in fields}
    try:
        entries = entries_of_folder(variables, folder, prefix)
    except OSError:
        entries = []
    return [folder / variables[name] for name in names] + [e for e in entries if e.name.lower() in called_alike]


def _content(path: Path, variable: str) -> str:
    """Reads the variable's value, a file's text without its last newline; raises ValueError that says what to do."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("is no file: put the value into a file of its own")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise ValueError(
            f"cannot be read ({exc.strerror}): the file must be there, and readable for this process"
        ) from None
    except UnicodeDecodeError:
        raise ValueError("is not in UTF-8: save it as UTF-8") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES // 1024} kB: put the value alone into the file")
    if "\0" in text:
        raise ValueError("is in UTF-16: save it as UTF-8")
    if not text.strip():
        raise ValueError("is empty: put the value into the file, or take it away")
    if text.upper().startswith(f"{variable.upper()}="):
        raise ValueError("holds the name and = as well: put the value alone into the file")
    return text.removesuffix("\n").removesuffix("\r")
