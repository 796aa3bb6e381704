"""Asks pip-audit for known vulnerabilities of the pinned packages, and never takes silence for an answer.

Where the vulnerability service cannot be reached, knows a package not, or does not even report a package that is known
to be vulnerable, this proves nothing, and says so.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
AUDIT = (
    sys.executable,
    "-m",
    "pip_audit",
    "--disable-pip",
    "--no-deps",
    "--format",
    "json",
    "--progress-spinner",
    "off",
)
# Known since 2020 to run code out of YAML (CVE-2020-14343): a service that does not report this one reports nothing.
CONTROL = "pyyaml==5.3"

NO_ANSWER = "audit: proves nothing, the vulnerability service gave no answer; ask again where the network leads to it"

Ask = Callable[[Path], tuple[str, str]]


def ask(requirements: Path) -> tuple[str, str]:
    """What pip-audit says of the file, as JSON, and what it complains of."""
    said = subprocess.run([*AUDIT, "--requirement", str(requirements)], capture_output=True, text=True, check=False)
    return said.stdout, said.stderr


def audited(requirements: Path, asked: Ask) -> list[dict[str, Any]] | str:
    """The packages with what is known of each, or why nothing is known."""
    stdout, stderr = asked(requirements)
    try:
        found: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return (stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    return found


def verdict(pinned: Path, control: Path, asked: Ask = ask) -> tuple[int, list[str]]:
    """The exit code and what to print, the figures last."""
    checked = audited(control, asked)
    if isinstance(checked, str):
        return 1, [checked, NO_ANSWER]
    if not any(package.get("vulns") for package in checked):
        why = f"audit: proves nothing, the vulnerability service does not know that {CONTROL} is vulnerable"
        return 1, [*_unknown(checked), why]
    found = audited(pinned, asked)
    if isinstance(found, str):
        return 1, [found, NO_ANSWER]
    unknown = _unknown(found)
    told = [
        f"{package['name']} {package['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'none'}"
        for package in found
        for hole in package.get("vulns", ())
    ]
    figures = f"audit: {len(found)} packages, {len(told)} known vulnerabilities, {len(unknown)} packages not known"
    if unknown:
        figures += "; of those this proves nothing"
    return int(bool(told or unknown or not found)), [*unknown, *told, figures]


def _unknown(found: list[dict[str, Any]]) -> list[str]:
    return [f"{package['name']}: {package['skip_reason']}" for package in found if "skip_reason" in package]


def main(arguments: Sequence[str]) -> int:
    """Audits requirements/dev.txt, or the file that is named."""
    pinned = Path(arguments[0]) if arguments else ROOT / "requirements" / "dev.txt"
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "control.txt"
        control.write_text(f"{CONTROL}\n")
        code, lines = verdict(pinned, control)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
