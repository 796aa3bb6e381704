"""The list of commands, of which none is imported before it is called for."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tracking.app.cli.main import COMMANDS, app, load_command

# What takes most of a start: the database, settings, HTTP, tables of pandas.
SLOW = ("sqlalchemy", "sqlmodel", "pydantic", "httpx", "pandas", "asyncio", "streamlit")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_is_listed_can_be_imported_and_says_what_it_does(name: str) -> None:
    answer = CliRunner().invoke(app, [name, "--help"])
    assert answer.exit_code == 0
    assert f"Usage: root {name}" in answer.output
    assert len(load_command(name).help) > len(COMMANDS[name].summary) / 2


def test_the_list_of_commands_is_cut_off_nowhere() -> None:
    answer = CliRunner().invoke(app, ["--help"], terminal_width=80)
    listed = answer.output.partition("Commands:\n")[2].splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [[name, each.summary] for name, each in COMMANDS.items()]


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant() -> None:
    answer = CliRunner().invoke(app, ["hook", "list"])
    assert answer.exit_code == 2
    assert "No such command 'hook'. Did you mean 'hooks'?" in answer.output


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_wait_for_nothing_that_takes_long_to_import(argument: str) -> None:
    code = (
        "import sys\nfrom tracking.app.cli.main import app\n"
        f"app([{argument!r}], standalone_mode=False)\n"
        f"print('imported:', *sorted(set(sys.modules) & set({SLOW!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "imported:"


def test_a_table_of_whole_numbers_times_and_texts_waits_for_no_pandas() -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom tracking.app.cli.output import print_table\n"
        "print_table(('a', 'b', 'c', 'd'), [(1, datetime.now(UTC), 'x', None)])\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
