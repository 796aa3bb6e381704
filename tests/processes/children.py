"""Real processes for the tests: started with an environment of their own, asked over HTTP, always ended.

Waits are polls with a deadline; whoever waits in vain is shown what the process said.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from types import MappingProxyType
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
TRACKING = (sys.executable, "-m", "tracking")
# Below the range from which the kernel takes the ports of outgoing connections, so that a restart finds its port free.
PORTS = range(20_000, 32_000)
NOTHING: Mapping[str, object] = MappingProxyType({})
EMAIL, ACCESS_TOKEN = "sandbox@example.com", "sandbox"
# One for all: to make one reads the certificates of the world, which takes longer than the call. Servers come and go.
HTTP = httpx.Client(timeout=5, trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    while True:
        port = SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(what: str, look: Callable[[], T | None], *, within: float, every: float = 0.1) -> T:
    """What `look` finds, as soon as that is something; AssertionError when the time is over."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, f"waited {within:g} s in vain for {what}"
        threading.Event().wait(every)
    return found


@dataclass
class Child:
    """One running process, its address where it serves one, and the file that holds what it said.

    `ready_after` is the seconds from its start until it was first seen to be ready.
    """

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    started: float = field(default_factory=time.monotonic)
    ready_after: float | None = None

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started

    @property
    def said(self) -> str:
        """Everything it wrote to stdout and stderr."""
        return self.log.read_text(errors="replace")

    def ready(self, path: str = "/healthz", *, within: float = 30) -> "Child":
        """Waits until it answers the path with 200."""

        def look() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said[-2000:]}"
            answered = get(self.url + path)
            return answered is not None and answered.status_code == 200

        until(f"{path} of {self.process.args!r}: {self.said[-2000:]}", look, within=within)
        self.ready_after = self.ready_after or self.age
        return self

    def lives_for(self, seconds: float) -> None:
        """Lets it work for so long; AssertionError when it ends within that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise AssertionError(f"ended with {code}: {self.said[-2000:]}")

    def ends(self, within: float = 30) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(within)

    def kill(self) -> None:
        """SIGKILL for it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, told: signal.Signals = signal.SIGINT) -> int:
        """Interrupts it as Ctrl-C does, or tells it otherwise; its exit code."""
        self.process.send_signal(told)
        return self.process.wait(20)


def get(url: str) -> httpx.Response | None:
    """The answer, None where nobody listens or the connection breaks."""
    try:
        return HTTP.get(url)
    except httpx.HTTPError:
        return None


@dataclass
class Nursery:
    """Starts children that know one folder, and ends them all."""

    folder: Path
    children: list[Child] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """The store that all consoles of this folder share."""
        return f"sqlite:///{self.folder / 'tracking.db'}"

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """PATH, HOME, this checkout's code and TRACKING_* alone.

        What is set to nothing also hides a `.env` of the checkout.
        """
        unset = (
            "API_BASE_URL",
            "API_EMAIL",
            "API_ACCESS_TOKEN",
            "PUBLIC_URL",
            "WEBHOOK_SECRET",
            "OPERATORS",
            "VIEWERS",
        )
        blank = dict.fromkeys(unset, "")
        named = {**blank, "DATABASE_URL": self.database_url, "SANDBOX_TRAFFIC": 0, **settings}
        known = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        return known | {f"TRACKING_{name}": str(value) for name, value in named.items()}

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        url: str = "",
        settings: Mapping[str, object] = NOTHING,
    ) -> Child:
        """Starts the command."""
        log = self.folder / f"{len(self.children):03d}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                env=self.environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(process, log, url)
        self.children.append(child)
        return child

    def serve(
        self, command: Sequence[str], port: int, settings: Mapping[str, object], *, cwd: Path | None = None
    ) -> Child:
        """Starts a command that listens on the port."""
        return self.start(command, cwd=cwd, url=f"http://127.0.0.1:{port}", settings=settings)

    def worker(self, settings: Mapping[str, object] = NOTHING, *, port: int | None = None) -> Child:
        """`tracking worker`."""
        port = port or free_port()
        return self.serve([*TRACKING, "worker", "--port", str(port)], port, settings)

    def streamlit(
        self,
        settings: Mapping[str, object] = NOTHING,
        *,
        cwd: Path = ROOT,
        script: str = "dashboard.py",
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> Child:
        """`streamlit run dashboard.py`."""
        port = port or free_port()
        flags = ["--server.port", str(port), "--server.headless", "true", *options]
        return self.serve([sys.executable, "-m", "streamlit", "run", script, *flags], port, settings, cwd=cwd)

    def uvicorn(
        self, settings: Mapping[str, object] = NOTHING, *, port: int | None = None, options: Sequence[str] = ()
    ) -> Child:
        """`uvicorn dashboard:app`."""
        port = port or free_port()
        command = [sys.executable, "-m", "uvicorn", "dashboard:app", "--port", str(port), *options]
        return self.serve(command, port, settings, cwd=ROOT)

    def sandbox(self, scenario: str = "normal", *, speed: float = 20, port: int | None = None) -> Child:
        """`tracking sandbox`, answering."""
        port = port or free_port()
        options = ["--port", str(port), "--scenario", scenario, "--speed", str(speed), "--seed", "1"]
        command = [*TRACKING, "sandbox", *options, "--database", str(self.folder / "provider.db")]
        return self.serve(command, port, NOTHING).ready("/sandbox/scenarios")

    def tracking(self, *arguments: str, within: float = 60) -> Child:
        """Runs a command of the command line to its end."""
        child = self.start([*TRACKING, *arguments])
        child.ends(within)
        return child

    def end(self) -> None:
        """Ends every child."""
        for child in self.children:
            child.kill()


@contextlib.contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A place for children, all ended at its end."""
    made = Nursery(folder)
    try:
        yield made
    finally:
        made.end()


def provider_settings(url: str) -> dict[str, object]:
    """The settings of a console that works against the sandbox at this address at full speed."""
    return {
        "API_BASE_URL": url,
        "API_EMAIL": EMAIL,
        "API_ACCESS_TOKEN": ACCESS_TOKEN,
        "API_MAX_RATE": 200,
        "API_TIMEOUT": 10,
        "POLL_FLOOR": 0.1,
        "DISCOVER_EVERY": 1,
    }


def truth(sandbox: Child) -> list[dict[str, Any]]:
    """Every order at the provider, as it really stands."""
    orders: list[dict[str, Any]] = HTTP.get(f"{sandbox.url}/sandbox/truth", timeout=30).json()
    return orders


def write_orders(path: Path, documents: Sequence[Mapping[str, Any]]) -> Path:
    """A file for `tracking submit`."""
    path.write_text(json.dumps(list(documents)))
    return path
