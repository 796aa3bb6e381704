"""Variables: what the environment and `.env` set, and values that stand in files of their own."""

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

    The environment counts before `.env`.
    """
    given = [*dotenv_values(env_file, encoding="utf-8-sig").items(), *os.environ.items()]
    ours = ((name[len(prefix) :].lower(), value) for name, value in given if name.upper().startswith(prefix))
    return {name: value for name, value in ours if value and value.strip()}


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
            values[field] = _content(folder / variables[name].strip())
        except ValueError as exc:
            problems.append(Problem(variable, str(exc)))
    return values, problems


def secrets_folder(variables: Mapping[str, str], folder: Path, prefix: str) -> tuple[Path | None, list[Problem]]:
    """Find the folder of files that are called like settings, None where none is set or one of them cannot be read.

    Beside it what is wrong with them.
    """
    if SECRETS_DIR not in variables:
        return None, []
    variable = f"{prefix}{SECRETS_DIR.upper()}"
    path = folder / variables[SECRETS_DIR].strip()
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.name.upper().startswith(prefix))
    except OSError as exc:
        return None, [Problem(variable, f"names no folder that can be read ({exc.strerror})")]
    problems = []
    for entry in entries:
        try:
            _check_inside(path, entry)
            _content(entry)
        except ValueError as exc:
            problems.append(Problem(f"{variable}, {entry.name}", str(exc)))
    return None if problems else path, problems


def files_of(fields: Collection[str], env_file: Path, prefix: str) -> list[Path]:
    """List the files beside `.env` where the values of these fields stand."""
    variables, folder = set_variables(env_file, prefix), env_file.parent
    names = [name + FILE_SUFFIX for name in fields if name + FILE_SUFFIX in variables]
    secrets, _ = secrets_folder(variables, folder, prefix)
    called_alike = {f"{prefix}{name}".lower() for name in fields}
    entries = secrets.iterdir() if secrets else ()
    return [folder / variables[name] for name in names] + [e for e in entries if e.name.lower() in called_alike]


def _check_inside(folder: Path, entry: Path) -> None:
    if not entry.resolve().is_relative_to(folder.resolve()):
        raise ValueError("leads out of the folder: put the file itself there")


def _content(path: Path) -> str:
    """Reads a file's text without its last newline; raises ValueError that says what to do."""
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
    if not text.strip():
        raise ValueError("is empty: put the value into the file, or take it away")
    return text.removesuffix("\n").removesuffix("\r")
