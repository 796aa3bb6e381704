"""The wheel holds the console: its command opens the pages from wherever it is started, without a checkout."""

import asyncio
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from live_pages import LivePage
from processes.children import NOTHING, ROOT, Nursery, free_port

from tracking.app.cli.starting import console


def built(target: str, folder: Path) -> Path:
    """The wheel or the sdist of this checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [file] = folder.iterdir()
    return file


@dataclass
class Installed(Nursery):
    """Children that run what was installed, and no checkout; the settings are the defaults."""

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        place = {"PYTHONPATH": str(self.site), "TRACKING_DATABASE_URL": ""}
        return super().environment(settings) | place


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path)
    wheel = built("wheel", tmp_path / "dist")
    zipfile.ZipFile(wheel).extractall(made.site)
    yield made
    made.end()


def test_an_installed_console_opens_its_pages_and_keeps_its_data_in_the_users_folder(installed: Installed) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tracking", "console", "--port", str(port), "--server.headless=true"]
    child = installed.serve(command, port, NOTHING).ready()

    async def look() -> None:
        async with LivePage(port) as overview, LivePage(port, "orders") as orders:
            assert (overview.failures, orders.failures) == ([], [])
            assert min(overview.elements, orders.elements) > 10

    asyncio.run(look())
    [database] = installed.folder.rglob("tracking.db")
    assert database.parts[-3:] == ("fulfillment-tracking", "data", "tracking.db")
    assert f"database: {database}" in child.said
    assert "the provider is simulated by the embedded sandbox" in child.said
    assert (installed.site / "tracking" / "py.typed").is_file()
    listed = installed.tracking("orders", "--json")
    assert f"database: {database}" in listed.said, "a command finds the same database"
    child.stop()
    assert "Traceback" not in child.said


@pytest.mark.long
def test_the_sdist_builds_the_same_wheel(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "second")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [second] = (tmp_path / "second").iterdir()
    assert second.read_bytes() == built("wheel", tmp_path / "first").read_bytes()


def test_what_the_folders_own_configuration_says_wins_over_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, folder = tmp_path / "package", tmp_path / "folder"
    for place in (package, folder):
        (place / ".streamlit").mkdir(parents=True)
        (place / ".streamlit" / "config.toml").write_text(
            '[server]\nheadless = false\nbaseUrlPath = "ops"\nport = 8600\nallowedHosts = ["a", "b"]\n'
            '[theme.light]\nprimaryColor = "#123456"\n'
        )
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "else")
    assert list(console._own_options(folder, package / "dashboard.py")) == [
        "--server.headless=false",
        "--server.port=8600",
        "--server.allowedHosts=a",
        "--server.allowedHosts=b",
        "--theme.light.primaryColor=#123456",
    ]
    assert list(console._own_options(package, package / "dashboard.py")) == []
