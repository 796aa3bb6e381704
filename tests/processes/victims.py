"""Who is killed, and who is told what: consoles, the process that submits, and a caller who remembers the answers."""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from processes.children import Child, Nursery, until

from tracking.webhooks import addresses

HERE = Path(__file__).resolve().parent
SECRET = "a secret for these kills alone"
WORKS_WITHIN = 60
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long after its start a console worked again, in seconds.

    `busy`: what it had used of a processor when it was healthy. The rest of `healthy` it waited, on a busy machine most
    of it for a processor.
    """

    kind: str
    healthy: float
    accepting: float
    busy: float | None = None


@dataclass
class Submitter:
    """The process that submits, over all its lives."""

    children: Nursery
    url: str
    rate: float
    lives: list[Child] = field(default_factory=list)

    def start(self) -> None:
        """Begins another life, with PONumbers of its own."""
        prefix = f"S{len(self.lives):04d}"
        command = [sys.executable, str(HERE / "submitting.py"), self.url, prefix, str(self.rate)]
        self.lives.append(self.children.start(command))

    def stop(self) -> list[str]:
        """Lets the last life finish what it began; what it stumbled over in any of them."""
        code = self.lives[-1].stop(signal.SIGTERM)
        code = 0 if code == -signal.SIGTERM else code  # told so early that it had not begun
        stumbled = [life.said[-1500:] for life in self.lives if "Traceback" in life.said]
        return stumbled + ([f"the submitting process ended with {code}"] if code else [])

    def acknowledged(self) -> list[str]:
        """The PONumbers that were acknowledged in all its lives."""
        return [line for life in self.lives for line in life.said.split("\n")[:-1] if line.startswith("S")]


class Caller:
    """Somebody who knows the orders' addresses and calls back; remembers what was answered with 2xx."""

    def __init__(self, submitter: Submitter, rng: random.Random) -> None:
        self._submitter = submitter
        self._rng = rng
        self._lock = threading.Lock()
        self._known: list[str] = []
        self._said = 0
        self._client = httpx.Client(timeout=5, trust_env=False)
        self.accepted: list[tuple[str, datetime]] = []

    def healthy(self, console: "Console") -> bool:
        """Whether the console says that it works."""
        if not console.listens():  # which costs next to nothing to ask: whoever measures must not be in the way
            return False
        try:
            return self._client.get(f"{console.url}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def call(self, console: "Console") -> bool:
        """Announces one known order; whether that was accepted."""
        with self._lock:
            self._said += 1
            stated = LONG_AGO + timedelta(seconds=self._said)
            if not self._known or self._rng.random() < 0.05:
                self._known = self._submitter.acknowledged()
            # The newest ones are still open, so that the call makes something due.
            po_number = self._rng.choice(self._known[-50:]) if self._known else "nobody-yet"
        body = {"Action": "FulfillmentComplete", "PONumber": po_number, "Timestamp": f"{stated:%m/%d/%Y %I:%M:%S %p}"}
        address = f"{console.url}/webhooks/fulfillment/{addresses.make_token(po_number, SECRET)}"
        try:
            accepted = self._client.post(address, json=body).is_success
        except httpx.HTTPError:
            return False
        if accepted:
            self.accepted.append((po_number, stated))
        return accepted


@dataclass
class Console:
    """One console over all its lives, always on the same port."""

    children: Nursery
    kinds: Sequence[str]
    settings: dict[str, object]
    port: int
    rng: random.Random
    kind: str = ""
    child: Child | None = None
    began: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    killed_early: int = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def listens(self) -> bool:
        """Whether anybody is at its port."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> None:
        """Begins another life."""
        self.kind, self.began = self.rng.choice(self.kinds), time.monotonic()
        ways = {"worker": self.children.worker, "pages": self.children.streamlit}
        self.child = ways[self.kind](self.settings, port=self.port)

    def kill(self) -> None:
        """SIGKILL."""
        if self.child is not None:
            self.child.kill()

    def works_again(self, caller: Caller) -> None:
        """Waits for that, and notes how long it took.

        Raises:
            AssertionError: it ended by itself, or it does not work in time.
        """
        self._until("to be healthy", lambda: caller.healthy(self))
        healthy = time.monotonic() - self.began
        busy = _processor_seconds(self.child.process.pid if self.child else 0)
        self._until("an accepted callback", lambda: caller.call(self))
        accepting = time.monotonic() - self.began
        self.recoveries.append(Recovery(self.kind, healthy, accepting, busy))

    def _until(self, what: str, look: Callable[[], bool]) -> None:
        child = self.child
        assert child is not None, "it was started"

        def found() -> bool:
            assert child.process.poll() is None, f"{self.kind} ended by itself: {child.said[-2000:]}"
            return look()

        until(f"{self.kind} {what}: {child.said[-2000:]}", found, within=WORKS_WITHIN, every=0.02)


def _processor_seconds(pid: int) -> float | None:
    """What the process has used of a processor; None where the system does not tell (it does on Linux)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
