"""Groups problems of a file: the same problem in many rows becomes one that names the rows.

For people they are put together once more, into groups of what differs in the values alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tracking.errors import Problem

RUNS_NAMED = 100
RUNS_OF_A_GROUP = PLACES_OF_A_GROUP = 3
_PREDICATE = re.compile(r"(is|must|has|holds|belongs|names|stands|repeats|needs|differs|lies|can|may|was|ends)\b")
_INDEX = re.compile(r"\[\d+\]|^order \d+(?:, )?")
# What differs between problems that are alike: what stands in quotes, and words with a digit in them.
_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S*\d\S*")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a cell, or with a row where `column` is empty. The header is row 1."""

    row: int
    column: str
    message: str


def as_problems(findings: Iterable[Finding]) -> list[Problem]:
    """The findings as problems in the order of their first rows: "row 4, Value", "rows 2, 5 to 9, Zip"."""
    rows: dict[tuple[str, str], set[int]] = defaultdict(set)
    for finding in sorted(findings, key=lambda each: each.row):
        rows[finding.column, finding.message].add(finding.row)
    return list(_problems(rows))


def _problems(rows: dict[tuple[str, str], set[int]]) -> Iterator[Problem]:
    for (column, message), numbers in rows.items():
        place = places_text(sorted(numbers))
        yield Problem(f"{place}, {column}" if column else place, message, tuple(sorted(numbers)), column)


def places_text(numbers: Sequence[int], runs_named: int = RUNS_NAMED) -> str:
    """The numbers of rows, ascending, in words: "row 4", "rows 2, 5 to 9 and 12 more"."""
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    runs = [[row for _, row in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs[:runs_named]]
    more = sum(map(len, runs[runs_named:]))
    return f"rows {', '.join(texts)}" + (f" and {more:,} more" if more else "")


def sentence(column: str, message: str) -> str:
    """A problem with what it is about: "Value must be an amount", "ProductId: the provider sells no 'X'"."""
    return f"{column} {message}".strip() if _PREDICATE.match(message) else f"{column}: {message}".removeprefix(": ")


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """Problems that are alike: in how many rows, or other places, they are; what the first says; the first places.

    `alike`: they differ in the values that they name. `alone` is all that is said, where it is of one row alone.
    """

    count: int
    text: str
    noun: str
    places: str
    alike: bool = False
    alone: str = ""

    def __str__(self) -> str:
        """The group in one line: "500 rows: FromName is missing (rows 2 to 501)"."""
        if self.alone:
            return self.alone
        others = ", with other values" if self.alike else ""
        return f"{self.count:,} {self.noun}s: {self.text} ({self.places}{others})"


def group_problems(problems: Iterable[Problem]) -> list[ProblemGroup]:
    """Put problems that differ in their rows, places and values alone into groups, the largest first."""
    groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[_column(problem), _VALUE.sub("", problem.message)].append(problem)
    return sorted(map(_group, groups.values()), key=lambda group: -group.count)


def _column(problem: Problem) -> str:
    """What a problem is about without which of many it is: a column, or a field in a JSON document."""
    if problem.rows:
        return problem.column
    return problem.column or _INDEX.sub("", problem.where).rpartition(".")[2]


def _group(members: Sequence[Problem]) -> ProblemGroup:
    first, rows = members[0], sorted({row for problem in members for row in problem.rows})
    count = len(rows) or len(members)
    text = sentence(_column(first), first.message)
    alike = len({problem.message for problem in members}) > 1
    alone = "; ".join(map(str, members)) if count == 1 else ""
    if rows:
        return ProblemGroup(count, text, "row", places_text(rows, RUNS_OF_A_GROUP), alike, alone)
    more = f" and {count - PLACES_OF_A_GROUP:,} more" if count > PLACES_OF_A_GROUP else ""
    places = ", ".join(each.where for each in members[:PLACES_OF_A_GROUP]) + more
    return ProblemGroup(count, text, "place", places, alike, alone)
