"""The texts that people read, taken from the source: pages, reports, errors, the command line and the documentation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
# A single word in small letters is a key, a stored word, a parameter or a column, and hardly ever a label.
KEY = re.compile(r"[a-z0-9_.:/\-=&%#?*@+]*")
# Whose words nobody reads on the screen: patterns, keys, statements of SQL, and the log, which is for developers.
UNREAD_CALLS = frozenset({
    *("compile", "sub", "match", "search", "fullmatch", "findall", "split"),
    *("getattr", "get", "pop", "setdefault", "text", "like", "Column", "Index", "getLogger"),
})  # fmt: skip
LOGGERS = frozenset({"log", "logger", "logging"})
ICON = re.compile(r":material/\w+:")
COMMAND = re.compile(r"\w+_command|configure")


class Text(NamedTuple):
    """One text and where it stands; what an f-string puts in reads "{}"."""

    file: str
    line: int
    text: str


def source_texts(path: Path) -> Iterator[Text]:
    """The texts of a source file that people may read: no docstring but a command's, no key, pattern, SQL, log."""
    for node in _read_nodes(ast.parse(path.read_text())):
        text = " ".join(ICON.sub("", _joined(node)).split())
        if not KEY.fullmatch(text):
            yield Text(path.relative_to(ROOT).as_posix(), getattr(node, "lineno", 0), text)


def page_texts(path: Path, text: str | None = None) -> Iterator[Text]:
    """The lines of a page of documentation, without code, addresses and what is written from docstrings."""
    text = path.read_text() if text is None else text
    for pattern in (r"^```.*?^```", r"<!-- (\w+) -->.*?<!-- end of \1 -->"):
        text = re.sub(pattern, lambda part: "\n" * part.group().count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    for number, line in enumerate(text.splitlines(), 1):
        if prose := re.sub(r"`[^`]*`|\]\([^)]*\)", "", line).strip():
            yield Text(path.relative_to(ROOT).as_posix(), number, prose)


def _joined(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _read_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every string that is an argument, a value or a result."""
    if isinstance(node, ast.JoinedStr):
        yield node
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _read_nodes(part.value)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node
    else:
        for child in _read_children(node):
            yield from _read_nodes(child)


def _read_children(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Compare() | ast.pattern():
            return
        case ast.Call() if _is_unread(node.func):
            return
        case ast.Call():
            yield node.func
            yield from node.args
            yield from (each.value for each in node.keywords if each.arg != "key")
        case ast.Dict():
            yield from node.values
        case ast.Subscript(slice=ast.Constant()):
            yield node.value
        case ast.FunctionDef() if COMMAND.fullmatch(node.name):
            yield ast.Constant(ast.get_docstring(node) or "", lineno=node.lineno)
            yield from ast.iter_child_nodes(node)
        case _:
            yield from ast.iter_child_nodes(node)


def _is_unread(function: ast.AST) -> bool:
    if not isinstance(function, ast.Attribute):
        return isinstance(function, ast.Name) and function.id in UNREAD_CALLS
    owner = function.value
    return function.attr in UNREAD_CALLS or (isinstance(owner, ast.Name) and owner.id in LOGGERS)
