"""Result of a check: its outcome, a sentence, and what to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tracking.settings.values import Settings


class Outcome(StrEnum):
    """How a check came out. What is not known can only be shown by work that has begun."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One result: what was checked, how it came out, why in a sentence, and what to do; never a secret."""

    name: str
    outcome: Outcome
    text: str
    advice: str = ""


Check = Callable[[Settings, Path], Iterable[CheckResult]]
"""Takes the settings and the folder of the console; raises only TrackingError."""
