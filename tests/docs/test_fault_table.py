"""The table of faults names tests that exist, and forgets no invariant and no scenario."""

import ast
import functools
import re
from pathlib import Path

import pytest

from tracking.sandbox.scenarios import SCENARIOS

TESTS = Path(__file__).parents[1]
TEXT = (TESTS / "README.md").read_text()
INVARIANTS = {f"I{number}" for number in (*range(16), 17, 18)}
FAULTS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.split("## The provider", 1)[1].splitlines()
    if line.startswith("| ") and not line.startswith(("| fault |", "| --- |"))
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+|\[[\w-]+\]))`", TEXT)))


@functools.cache
def functions(file: Path) -> frozenset[str]:
    """The tests in the file, without importing it."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def exists(name: str) -> bool:
    """Whether there is such a test, or such a scenario of the test of scenarios."""
    file, _, rest = re.sub(r"\[|::", " ", name.rstrip("]")).partition(" ")
    if not (TESTS / file).is_file():
        return False
    if name.endswith("]"):
        return file == "scenarios/test_scenarios.py" and rest in SCENARIOS
    return rest in functions(TESTS / file)


def test_every_test_in_the_table_exists() -> None:
    assert len(NAMED) > 150
    assert [name for name in NAMED if not exists(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "test_nowhere.py::test_it",
        "test_wire.py::test_nothing_of_the_kind",
        "test_wire.py[normal]",
        "scenarios/test_scenarios.py[never-heard-of]",
    ],
)
def test_what_does_not_exist_is_seen(name: str) -> None:
    assert not exists(name)


def test_every_fault_threatens_something_and_is_shown_harmless_by_something() -> None:
    assert len(FAULTS) > 50
    for fault, threatened, shown in FAULTS:
        assert set(threatened.split()) <= INVARIANTS, fault
        assert threatened, fault
        assert shown, fault
        assert re.sub(r"`[\w/]+\.py(::\w+|\[[\w-]+\])`", "", shown).strip() == "", fault


def test_every_invariant_is_threatened_by_some_fault() -> None:
    assert {name for _, threatened, _ in FAULTS for name in threatened.split()} == INVARIANTS
    assert set(re.findall(r"^\| (I\d+) \|", TEXT, re.MULTILINE)) == INVARIANTS


def test_every_scenario_of_the_sandbox_is_some_fault() -> None:
    told = set(re.findall(r"\[([a-z][\w-]+)\]`", TEXT))
    assert told == set(SCENARIOS) - {"access-disabled"}
