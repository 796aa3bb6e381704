"""`make audit` looks clean only where a service that knows vulnerabilities knows none of these packages."""

import json
from pathlib import Path
from typing import Any

import pytest
import vulnerabilities

PINNED, CONTROL = Path("dev.txt"), Path("control.txt")
HOLE = {"id": "CVE-2020-14343", "fix_versions": ["5.4"]}
BAD = {"name": "pyyaml", "version": "5.3", "vulns": [HOLE]}
GOOD = {"name": "httpx", "version": "0.28.1", "vulns": []}
NO_ANSWER = "the vulnerability service gave no answer; ask again where the network leads to it"
UNKNOWN = {"name": "inhouse", "skip_reason": "not found"}


def service(control: Any, pinned: Any) -> vulnerabilities.Ask:
    """A pip-audit that answers so; a text is what it complains of."""

    def ask(requirements: Path) -> tuple[str, str]:
        answer = {CONTROL: control, PINNED: pinned}[requirements]
        return ("", answer) if isinstance(answer, str) else (json.dumps({"dependencies": answer, "fixes": []}), "")

    return ask


@pytest.mark.parametrize(
    ("control", "pinned", "code", "last"),
    [
        ([BAD], [GOOD], 0, "audit: 1 packages, 0 known vulnerabilities, 0 packages not known"),
        ([BAD], [GOOD, BAD], 1, "audit: 2 packages, 1 known vulnerabilities, 0 packages not known"),
        ([BAD], [GOOD, UNKNOWN], 1, "of those this proves nothing"),
        ([BAD], [], 1, "audit: 0 packages"),
        ([BAD], "no connection", 1, NO_ANSWER),
        ("no connection", [GOOD], 1, NO_ANSWER),
        ("", [GOOD], 1, NO_ANSWER),
        ([UNKNOWN], [GOOD], 1, "does not know that pyyaml==5.3 is vulnerable"),
        ([BAD | {"vulns": []}], [GOOD], 1, "does not know that pyyaml==5.3 is vulnerable"),
    ],
)
def test_silence_is_not_taken_for_an_answer(control: Any, pinned: Any, code: int, last: str) -> None:
    found, lines = vulnerabilities.verdict(PINNED, CONTROL, service(control, pinned))
    assert (found, last in lines[-1]) == (code, True), lines


def test_each_vulnerability_is_told_with_what_mends_it() -> None:
    _, lines = vulnerabilities.verdict(PINNED, CONTROL, service([BAD], [BAD]))
    assert lines[0] == "pyyaml 5.3: CVE-2020-14343, fixed in 5.4"


def test_a_service_that_knows_no_package_says_so_of_the_one_that_is_known_to_be_vulnerable() -> None:
    _, lines = vulnerabilities.verdict(PINNED, CONTROL, service([UNKNOWN | {"name": "pyyaml"}], [GOOD]))
    assert lines[0] == "pyyaml: not found"
