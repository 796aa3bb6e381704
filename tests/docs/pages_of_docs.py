"""The README and the pages in docs/ as texts, and the rows of the tables in them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table below the heading, without its head."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", PAGES[page].split(f"\n{heading}\n", 1)[1], re.MULTILINE | re.DOTALL)
    assert table is not None
    for line in table.group().splitlines()[2:]:
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
