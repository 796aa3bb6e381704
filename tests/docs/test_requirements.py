"""The pinned packages: each with hashes, for run, test and dev apart, in step with pyproject.toml, of no one host."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
BASE = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["build"]]
FOR_RUN = [*BASE, *(each for extra in ("alerts", "mcp", "otel", "postgres") for each in EXTRAS[extra])]
NEEDED = {"run": FOR_RUN, "test": [*FOR_RUN, *EXTRAS["test"]], "dev": [*FOR_RUN, *EXTRAS["test"], *EXTRAS["dev"]]}
TEXTS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in NEEDED}


def pinned(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package in the file."""
    entries = re.findall(r"^([\w.-]+)==(\S+)[^\n]*\\\n((?: +--hash=.*\n?)+)", TEXTS[name], re.MULTILINE)
    return {
        package: (version, frozenset(re.findall(r"sha256:(\w{64})", hashes))) for package, version, hashes in entries
    }


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_needed_is_pinned_with_hashes_and_names_no_host(name: str) -> None:
    packages = pinned(name)
    lines = [line for line in TEXTS[name].splitlines() if line[:1].isalnum()]
    assert len(lines) == len(packages), "every line is a package with an exact version and hashes"
    assert all(hashes for _, hashes in packages.values())
    assert not re.search(r"://|index|find-links|@ ", TEXTS[name])
    wanted = [each for each in map(Requirement, NEEDED[name]) if each.name != PROJECT["project"]["name"]]
    for each in wanted:
        version, _ = packages[canonicalize_name(each.name)]
        assert each.specifier.contains(version, prereleases=True), each


def test_a_package_has_the_same_version_wherever_it_is_pinned() -> None:
    run, test, dev = (pinned(name) for name in NEEDED)
    assert run.items() < test.items() < dev.items()


def test_a_package_that_is_compiled_has_hashes_of_all_platforms() -> None:
    # Wheels of Linux, macOS and Windows for four versions of Python: many more files than of a pure package.
    packages = pinned("run")
    assert {name for name in ("numpy", "pandas", "pydantic-core", "pyarrow") if len(packages[name][1]) < 12} == set()
