import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import expiry
import pytest
import streamlit as st
from histories import History
from streamlit import config
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, app_test, local_script_runner

from tracking.settings.loading import process_settings
from tracking.storage import facts
from tracking.storage.database import Database, connect

MAIN = Path(__file__).parents[2] / "pages" / "main.py"
CATALOGUE = {
    "products": [
        {
            "id": "CVS",
            "name": "CVS Pharmacy",
            "type": "Digital",
            "denominations": [1000, 2500],
            "denomination_type": "Fixed",
            "delivery_types": ["Links", "DigitalDelivery"],
            "currency": "USD",
        },
        {
            "id": "PLASTIC",
            "name": "Plastic *card*",
            "type": "Physical",
            "denominations": [500, 50000],
            "denomination_type": "Variable",
            "delivery_types": ["PhysicalShipment"],
            "currency": "USD",
        },
    ],
    "shipping_methods": [{"id": "STANDARD", "carrier": "Post", "description": "Standard", "cost_minor": 250}],
    "carriers": [{"id": "DEFAULT", "name": "Default"}],
}

Open = Callable[..., AppTest]


def page_links(app: AppTest) -> list[Any]:
    """The links of the page itself, without those of the frame above it."""
    return list(app.page_link)[len(app.container(key="counts").page_link) :]


@pytest.fixture(scope="session", autouse=True)
def no_components() -> Iterator[None]:
    """Each AppTest would look for components in all installed packages, which takes longer than the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", list)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_pages() -> Iterator[None]:
    """Each AppTest would compile the files of the pages it runs anew, and keep statistics of its calls, as none does.

    The settings of the checkout, which say so, are not read where these tests run.
    """
    compiled, statistics = ScriptCache(), "browser.gatherUsageStats"
    before = config.get_option(statistics)
    config.set_option(statistics, False)
    with pytest.MonkeyPatch.context() as patch:
        for module in (app_test, local_script_runner):  # one compiles the page, the other what leads to it
            patch.setattr(module, "ScriptCache", lambda: compiled)
        yield
    config.set_option(statistics, before)


@pytest.fixture(scope="session", autouse=True)
def awaited_runs() -> Iterator[None]:
    """Each AppTest would ask a thousand times a second whether its page has run, and so take time from that."""
    ask = local_script_runner.require_widgets_deltas

    def wait(runner: local_script_runner.LocalScriptRunner, timeout: float = 3) -> None:
        thread = runner._script_thread
        assert thread is not None
        thread.join(timeout)
        ask(runner, 0 if thread.is_alive() else timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_script_runner, "require_widgets_deltas", wait)
        yield


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The store that the pages see: empty, in the sandbox's mode."""
    url = f"sqlite:///{shutil.copyfile(migrated_file, tmp_path / 'pages.db')}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_DATABASE_URL", url)
    for name in ("TRACKING_API_BASE_URL", "TRACKING_API_EMAIL", "TRACKING_API_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    forget()
    opened = connect(url)
    yield opened
    opened.close()
    forget()


def forget() -> None:
    """What a process keeps for as long as it lives."""
    st.cache_resource.clear()
    st.cache_data.clear()
    expiry.expire()
    process_settings.cache_clear()


@pytest.fixture
def history(database: Database) -> History:
    """Makes orders that were just placed."""
    return History(database, datetime.now(UTC))


@pytest.fixture
def catalogue(database: Database) -> None:
    """The provider's catalogue and balance, as the poller would have stored them."""
    now = datetime.now(UTC)
    database.write(lambda connection: facts.set_fact(connection, "catalogue", CATALOGUE, now))
    balance = {"available_minor": 100_000, "pending_minor": 0, "offered": True}
    database.write(lambda connection: facts.set_fact(connection, "balance", balance, now))


@pytest.fixture(scope="session")
def registered() -> dict[str, Any]:
    """The pages as the first AppTest of the session came to know them."""
    return {}


@pytest.fixture
def visit(database: Database, registered: dict[str, Any]) -> Open:
    """Opens a page by its file's name, with query parameters, as its address in a new tab would."""

    def opened(page: str = "overview", /, *, claims: dict[str, Any] | None = None, **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(str(MAIN), default_timeout=20)
        app.user = claims or {}
        if page == "overview":
            return app.run()
        # Without the pages, which the run of any page registers, an AppTest finds none but the first. Which there are
        # is up to the settings: those of the test that ran first may lack one.
        if not any(str(info.get("script_path")).endswith(f"/{page}.py") for info in registered.values()):
            registered.update(app.run()._registered_pages)
        app._registered_pages = dict(registered)
        for name, value in query.items():
            app.query_params[name] = value
        return app.switch_page(f"{page}.py").run()

    return opened
