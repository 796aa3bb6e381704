from pathlib import Path

import pytest

from tracking.app import folders


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package without a checkout around it, a user with a home, and an empty folder to be in."""
    monkeypatch.setattr(folders, "_PACKAGE", tmp_path / "site-packages" / "tracking")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def test_an_installed_console_lives_where_its_files_are_else_in_the_users_folder(installed: Path) -> None:
    assert folders.launcher() == folders._PACKAGE / "_console" / "dashboard.py"
    users = installed.parent / "home" / "fulfillment-tracking"
    assert folders.console_folder() == folders.folder_of(folders.launcher()) == users
    (installed / "data" / "tracking.db").touch()
    assert folders.console_folder() == folders.folder_of(folders.launcher()) == installed
    (installed / "data" / "tracking.db").rename(installed / ".env")
    assert folders.console_folder() == folders.folder_of(folders.launcher()) == installed


def test_a_dashboard_of_another_program_beside_the_package_makes_no_checkout(installed: Path) -> None:
    (installed.parent / "site-packages").mkdir()
    (installed.parent / "site-packages" / "dashboard.py").touch()
    assert folders.launcher().parent.name == "_console"


def test_a_checkout_keeps_all_together_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    assert folders.folder_of(folders.launcher()) == folders.console_folder() == root
    (tmp_path / ".env").touch()
    assert folders.console_folder() == tmp_path
    assert folders.folder_of(folders.launcher()) == root
