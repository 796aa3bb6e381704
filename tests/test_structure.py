"""The plan of the code holds: few rooms, few files in each, short files and functions, words of the field.

Import directions are held by import-linter's contracts in `pyproject.toml`.
"""

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tracking"
MIGRATIONS = PACKAGE / "storage" / "migrations"
SOURCES = [
    path for folder in (PACKAGE, ROOT / "pages") for path in folder.rglob("*.py") if MIGRATIONS not in path.parents
]
# Bare participles that stood for a thing's name; where the language has a noun, the noun is the name.
PARTICIPLES = frozenset({"told", "kept", "shown", "seen", "known", "found", "wanted", "beside", "said"})
PARTICIPLES_AT_MOST = 60


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """Parsed when a test of this file runs, not wherever tests are collected."""
    return {path: ast.parse(path.read_text()) for path in SOURCES}


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")


def functions() -> Iterator[tuple[str, int]]:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


def identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield from (*name.split("."), asname or "")
            case ast.ImportFrom(module=str(module)):
                yield from module.split(".")


def parts(identifier: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def test_there_are_fourteen_rooms_and_the_sandbox() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    work = "forecasting orders polling provider reports storage submissions team webhooks"
    edges = "alerting api app delivery settings"
    assert rooms == {*work.split(), *edges.split(), "sandbox"}
    assert len(files_in(PACKAGE)) <= 8


def test_no_room_holds_more_than_can_be_taken_in_at_once() -> None:
    folders = {path.parent for path in SOURCES if PACKAGE in path.parents} - {PACKAGE}
    counts = {str(folder.relative_to(PACKAGE)): len(files_in(folder)) for folder in folders}
    assert {name: count for name, count in counts.items() if count > (14 if name == "sandbox" else 10)} == {}


def test_each_room_says_its_duty_and_nothing_else() -> None:
    inits = [path for path in PACKAGE.rglob("__init__.py") if MIGRATIONS not in path.parents]
    for path in inits:
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, f"{path} holds more than a docstring"
        assert isinstance(body[0], ast.Expr)


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    lengths = list(functions())
    assert [name for name, length in lengths if length > 60] == []
    assert sum(length <= 10 for _, length in lengths) / len(lengths) >= 0.69


def test_names_are_nouns_where_there_is_one() -> None:
    words = Counter(part for tree in trees().values() for name in identifiers(tree) for part in parts(name))
    count = sum(words[word] for word in PARTICIPLES)
    assert count <= PARTICIPLES_AT_MOST, {word: words[word] for word in PARTICIPLES}


def test_one_module_chooses_the_driver_of_sqlite_and_one_makes_engines() -> None:
    """Two copies of SQLite in one process that open one file drop each other's locks; the sandbox has a file alone."""
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    texts = tests | {path: path.read_text() for path in SOURCES}
    imported = re.compile(r"^\s*(import|from) (py)?sqlite3\b", re.MULTILINE)
    drivers = {path for path, text in texts.items() if imported.search(text)}
    assert drivers == {PACKAGE / "storage" / "sqlite" / "driver.py", PACKAGE / "sandbox" / "database.py"}
    makers = {path for path in SOURCES if "create_engine(" in texts[path]}
    assert makers == {PACKAGE / "storage" / "engines.py"}
