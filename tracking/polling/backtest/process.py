"""Commands of ours that run in a process of their own, so that nothing in this one waits for their arithmetic.

Owns the process: one at a time, with less priority than whoever asked, and an end in any case. The store's address and
every secret go by the environment; arguments hold figures and words that are known.
"""

import contextlib
import json
import logging
import os
import subprocess  # runs this package alone, never a shell  # nosec B404
import sys
import threading
from collections.abc import Sequence
from typing import Any

from tracking.errors import NotComputed

log = logging.getLogger(__name__)

PATIENCE = 180.0
GIVES_WAY = 10
TOLD_AT_MOST = 300
EXPECTED = frozenset({1, 2})  # what is not so, a bad call: both are told in a sentence
_TURN = threading.Lock()


def answer(arguments: Sequence[str], patience: float = PATIENCE) -> Any:
    """What the command prints as JSON.

    Raises:
        NotComputed: it said that it cannot, took longer than `patience` seconds, or another one is running.
    """
    if not _TURN.acquire(blocking=False):
        raise NotComputed("another one is being computed; try again when it is done")
    try:
        return _answer(arguments, patience)
    finally:
        _TURN.release()


def _answer(arguments: Sequence[str], patience: float) -> Any:
    command = [sys.executable, "-m", "tracking", *arguments, "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(  # noqa: S603 - our own package, and no shell reads the arguments  # nosec B603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        with contextlib.suppress(AttributeError, OSError):  # not everywhere, and it may have ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, GIVES_WAY)
        try:
            said, problem = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as exc:
            raise NotComputed(f"it took longer than {patience:.0f} s and was ended; try a shorter time") from exc
        finally:
            process.kill()
    if process.returncode != 0:
        raise NotComputed(_reason(process.returncode, problem.decode("utf-8", "replace")))
    return json.loads(said)


def _reason(code: int, problem: str) -> str:
    """What it said for people; of anything else, which may hold more than people should see, that it happened."""
    lines = [line for line in problem.splitlines() if line.strip()]
    if code in EXPECTED and lines and not any(line.startswith("Traceback") for line in lines):
        return lines[-1].strip(" │")[:TOLD_AT_MOST]
    log.error("errand failed code=%d", code)
    return f"the process ended with code {code}"
