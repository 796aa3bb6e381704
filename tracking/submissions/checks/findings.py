"""Findings in the rows of a file, put together: what is the same in many rows is one problem that names them all."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tracking.errors import Problem

RUNS_NAMED = 100


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
    return [
        Problem(f"{_rows_text(sorted(numbers))}, {column}" if column else _rows_text(sorted(numbers)), message)
        for (column, message), numbers in rows.items()
    ]


def _rows_text(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    runs = [[row for _, row in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs[:RUNS_NAMED]]
    more = sum(map(len, runs[RUNS_NAMED:]))
    return f"rows {', '.join(texts)}" + (f" and {more:,} more" if more else "")
