"""Writes the tree of `tracking` into docs/architecture.md, from the docstrings of rooms and modules: `make docs`."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tracking"
PAGE = ROOT / "docs" / "architecture.md"
WIDTH = 22


def layers() -> list[str]:
    """The layers of the import contract, the uppermost first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [found] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return list(found)


def duty(path: Path) -> str:
    """The first sentences of a module's docstring, or of a room's: up to its first empty line."""
    file = path / "__init__.py" if path.is_dir() else path
    first = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
    return " ".join(first.split())


def rooms(folder: Path = PACKAGE) -> Iterator[Path]:
    """The folder's rooms with those inside of them, as the layers lie; a folder without an `__init__` is none."""
    order = [name for layer in layers() for name in layer.split(" | ")]
    found = [path.parent for path in folder.glob("*/__init__.py")]
    for room in sorted(found, key=lambda path: (order.index(path.name) if path.name in order else 0, path.name)):
        yield room
        yield from rooms(room)


def modules(room: Path) -> list[Path]:
    """The room's own files."""
    return sorted(path for path in room.glob("*.py") if path.name != "__init__.py")


def tree() -> str:
    """The rooms with their duties, one line each."""
    lines = [f"{'tracking/':<{WIDTH}}{duty(PACKAGE)}"]
    for room in rooms():
        indent = "  " * len(room.relative_to(PACKAGE).parts)
        lines.append(f"{f'{indent}{room.name}/':<{WIDTH}}{duty(room)}")
    return "\n".join(lines)


def listing() -> str:
    """Every module with its duty, room by room, and then the pages."""
    pages = "\n".join(f"- `pages/{path.name}`: {duty(path)}" for path in modules(ROOT / "pages"))
    return "\n\n".join(
        [*(_entry(room) for room in (PACKAGE, *rooms())), f"**`pages/`** Widgets and layout.\n\n{pages}"]
    )


def _entry(room: Path) -> str:
    folder = room.relative_to(ROOT).as_posix()
    entries = [f"- `{_dotted(path)}`: {duty(path)}" for path in modules(room)]
    return "\n".join([f"**`{folder}/`** {duty(room)}", *([""] if entries else []), *entries])


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def written(text: str) -> str:
    """The page's text with the tree, the layers and the listing as the code has them now."""
    parts = {"tree": f"```\n{tree()}\n```", "layers": "```\n{}\n```".format("\n".join(layers())), "listing": listing()}
    for name, part in parts.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end of {name} -->")
        if not (start and end):
            sys.exit(f"{PAGE} has no place for the {name}")
        text = before + start + part + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
