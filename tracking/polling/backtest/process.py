"""Runs replays in a process of their own, one at a time, so that their arithmetic holds up nothing here.

The store's address and every secret go by the environment; arguments hold figures and words that are known. A replay
has less priority than whoever asked for it, and an end in any case.
"""

import contextlib
import json
import logging
import os
import subprocess  # runs this package alone, never a shell  # nosec B404
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tracking.errors import NotComputed

_logger = logging.getLogger(__name__)

PATIENCE = 180.0  # seconds
NICENESS = 10
REPLAYS_REMEMBERED = 8
_LONGEST_REASON = 300
_EXPECTED_CODES = frozenset({1, 2})  # what is not so, a bad call: both come with a sentence


def replay_answer(arguments: Sequence[str], patience: float = PATIENCE) -> Mapping[str, Any]:
    """Compute what `tracking replan --json` prints with these arguments.

    Raises:
        NotComputed: it said that it cannot, or took longer than `patience` seconds.
    """
    command = [sys.executable, "-m", "tracking", "replan", *arguments, "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:  # noqa: S603  # nosec B603 - no shell, no foreign word
        with contextlib.suppress(AttributeError, OSError):  # not everywhere, and it may have ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            answer, problem = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as exc:
            raise NotComputed(f"it took longer than {patience:.0f} s and was ended; try a shorter time") from exc
        finally:
            process.kill()
    if process.returncode != 0:
        raise NotComputed(_reason(process.returncode, problem.decode("utf-8", "replace")))
    result: Mapping[str, Any] = json.loads(answer)
    return result


def _reason(code: int, problem: str) -> str:
    """What it said for people; of anything else, which may hold more than people should see, that it happened."""
    lines = [line for line in problem.splitlines() if line.strip()]
    if code in _EXPECTED_CODES and lines and not any(line.startswith("Traceback") for line in lines):
        return lines[-1].strip(" │").removeprefix("error: ")[:_LONGEST_REASON]
    _logger.error("replay failed code=%d", code)
    return f"the process ended with code {code}"


@dataclass
class Replay:
    """A replay that was asked for: waiting or running until `ended` is set, then with its result or its problem."""

    started_at: datetime
    ended: threading.Event = field(default_factory=threading.Event)
    result: Mapping[str, Any] | None = None
    problem: NotComputed | None = None


class Replays:
    """Replays that were asked for, the newest REPLAYS_REMEMBERED of them; each runs in a thread that ends with us."""

    def __init__(self, compute: Callable[[Sequence[str]], Mapping[str, Any]] = replay_answer) -> None:
        self._compute = compute
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._replays: dict[tuple[str, ...], Replay] = {}

    def find(self, arguments: tuple[str, ...]) -> Replay | None:
        """The replay with these arguments, if it was asked for."""
        return self._replays.get(arguments)

    def start(self, arguments: tuple[str, ...], now: datetime) -> Replay:
        """Start a replay, unless the same one is under way. Others wait for their turn.

        Raises:
            NotComputed: as many as are remembered wait already.
        """
        with self._lock:
            if (present := self._replays.get(arguments)) and not present.ended.is_set():
                return present
            self._replays.pop(arguments, None)
            self._forget_oldest()
            replay = self._replays[arguments] = Replay(now)
        threading.Thread(target=self._run, args=(arguments, replay), daemon=True, name="replay").start()
        return replay

    def _forget_oldest(self) -> None:
        ended = [each for each, replay in self._replays.items() if replay.ended.is_set()]
        if len(self._replays) >= REPLAYS_REMEMBERED and not ended:
            raise NotComputed("others are being computed; try again when they are done")
        while len(self._replays) >= REPLAYS_REMEMBERED and ended:
            del self._replays[ended.pop(0)]

    def _run(self, arguments: tuple[str, ...], replay: Replay) -> None:
        try:
            with self._turn:
                replay.result = self._compute(arguments)
        except NotComputed as exc:
            replay.problem = exc
        except (OSError, ValueError):
            _logger.exception("replay failed")
            replay.problem = NotComputed("the process could not be started or read")
        finally:
            replay.ended.set()
