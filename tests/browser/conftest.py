import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in (str(TESTS), str(TESTS / "support"), str(TESTS / "scenarios")) if path not in sys.path]

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright  # noqa: E402 - as below
from processes.children import ROOT, Child, Nursery, nursery, until  # noqa: E402 - found through the line above
from processes.over_http import fact, store_of  # noqa: E402 - as above

from tracking.settings.values import Settings  # noqa: E402 - as above

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No script runs here long enough to make up for what it takes to optimize it: an eighth of what pages take.
    "--js-flags=--no-turbofan --no-maglev",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests are skipped, and fail in CI."""
    found = subprocess.run([ROOT / "tests/browser/find-chromium"], capture_output=True, text=True, check=False)
    path = found.stdout.strip().splitlines()[-1:] if found.returncode == 0 else []
    if not path and os.environ.get("CI"):
        pytest.fail("no Chromium, and none could be installed: CI must not pass over the browser tests")
    if not path:
        pytest.skip("no Chromium on the path, and none could be installed")
    return path[0]


def start_as_in_a_fresh_clone(children: Nursery) -> Child:
    """Starts a console without a store, as `make run` does."""
    usual = Settings.model_fields["sandbox_traffic"].default
    return children.streamlit(settings={"SANDBOX_TRAFFIC": usual})


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """The folder of a console that has begun without a store; the console is its only child."""
    with nursery(tmp_path_factory.mktemp("console")) as children:
        start_as_in_a_fresh_clone(children)
        yield children


@pytest.fixture(scope="session")
def console_of_all(first_start: Nursery) -> Child:
    """A console on the embedded sandbox, as `make run` starts it, once it has read the catalogue.

    It answers before that, and the form is there afterwards only: until then its page asks to try again. It is one
    for all tests: each has a browser of its own.
    """
    started = first_start.children[0].ready(within=60)
    with store_of(first_start.database_url) as store:
        until("the catalogue", lambda: fact(store, "catalogue").get("products"), within=60)
    return started


@pytest.fixture(scope="module")
def console(console_of_all: Child) -> Iterator[Child]:
    """That console, which stands still while no test looks at it: its traffic would go on to the end of the run."""
    os.killpg(console_of_all.process.pid, signal.SIGCONT)
    yield console_of_all
    os.killpg(console_of_all.process.pid, signal.SIGSTOP)


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """One for the tests of this package; while it is there no other test could run an event loop of its own."""
    with sync_playwright() as playwright:
        expect.set_options(timeout=60_000)
        launched = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def context_of_all(browser: Browser, console_of_all: Child) -> Iterator[BrowserContext]:
    """One browser for tests of the console that need none of their own, where all scripts would be read anew."""
    opened = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=console_of_all.url)
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def context(context_of_all: BrowserContext, console: Child) -> BrowserContext:
    """That browser while the console runs, as if nobody had said in it who they are."""
    context_of_all.clear_cookies()
    return context_of_all


@pytest.fixture
def width() -> int:
    """Of the window in pixels; a test that also wants a phone's parametrizes it."""
    return 1280


@pytest.fixture
def page(browser: Browser, console: Child, width: int) -> Iterator[Page]:
    """A page of the console, in a browser of its own."""
    context = browser.new_context(viewport={"width": width, "height": 900}, base_url=console.url)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()
