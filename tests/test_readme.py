"""What the README says is so: its tables are compared with the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracking.sandbox.faults import NOTE_WORDS
from tracking.sandbox.scenarios import SCENARIOS
from tracking.settings import Role, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "tracking").rglob("*.py"))


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the first table below the heading, without its head."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", README.split(f"{heading}\n", 1)[1], re.MULTILINE | re.DOTALL)
    assert table is not None
    for line in table.group().splitlines()[2:]:
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def test_every_setting_is_in_the_table_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {row[0].strip("`"): row[1] for row in rows("## Settings")}
    assert set(told) == {f"TRACKING_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = told[f"TRACKING_{name.upper()}"]
        if field.default is None:
            assert default == "" or default.startswith(("(unset", "made on"))
        elif name == "roles":
            assert {Role(role) for role in default.split(",")} == field.default
        else:
            assert default == str(field.default)


def test_every_message_in_the_troubleshooting_table_is_one_the_code_says() -> None:
    told = [row[0] for row in rows("## Troubleshooting")]
    messages = [match.group(1) for cell in told if (match := re.fullmatch(r"`(.+)`", cell))]
    assert len(messages) >= 8
    folded = re.sub(r'"\s*\n\s*f?"', "", SOURCES)
    assert [message for message in messages if message not in folded] == []


def test_every_scenario_and_every_word_is_in_its_table() -> None:
    scenarios = {row[0].strip("`"): row[1] for row in rows("<details><summary>All scenarios</summary>")}
    words = {row[0].strip("`[]"): row[1] for row in rows("<details><summary>Words for an order's Note</summary>")}
    assert scenarios == {name: scenario.summary for name, scenario in SCENARIOS.items()}
    assert words == dict(NOTE_WORDS)


def test_every_command_is_in_the_table() -> None:
    from tracking.app.cli.main import app  # noqa: PLC0415 - typer and all it brings, for this one test

    told = {row[0].strip("`").split()[0] for row in rows("## Command line")}
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert told == known


def test_every_make_target_that_is_told_exists() -> None:
    told = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert told <= targets


def test_the_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
