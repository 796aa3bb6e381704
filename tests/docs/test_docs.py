"""What the README and the pages in docs/ say is so: tables, names and links are compared with the code."""

import asyncio
import importlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pages_of_docs import PAGES, ROOT, rows

from tracking.alerting.rules import RULES
from tracking.app.backend import Backend
from tracking.app.web.address_check import page_paths
from tracking.orders import wording
from tracking.sandbox.faults import NOTE_WORDS
from tracking.sandbox.scenarios import SCENARIOS
from tracking.settings.loading import load
from tracking.settings.roles import Role
from tracking.settings.values import Settings

TEXT = "\n".join(PAGES.values())
OPERATING = PAGES["docs/operating.md"]
SOURCES = "\n".join(path.read_text() for path in (ROOT / "tracking").rglob("*.py"))
METRICS = "## Health, metrics and logs"
ROOMS = "|".join(path.stem for path in (ROOT / "tracking").iterdir() if not path.name.startswith("_"))


def test_the_readme_fits_on_a_screen_and_leads_to_every_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 80
    assert len(PAGES) == 13
    assert [page for page in PAGES if page != "README.md" and f"]({page})" not in PAGES["README.md"]] == []


def test_every_setting_is_in_the_table_with_its_default() -> None:
    defaults = {row[0].strip("`"): row[1] for row in rows("docs/operating.md", "## Settings")}
    assert set(defaults) == {f"TRACKING_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = defaults[f"TRACKING_{name.upper()}"]
        if field.default in (None, ()):
            assert default == "" or default.startswith(("(unset", "made on"))
        elif name == "roles":
            assert {Role(role) for role in default.split(",")} == field.default
        elif isinstance(field.default, tuple):
            assert default == f"`{','.join(field.default)}`"
        else:
            assert default == str(field.default)


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    named = {name.removesuffix("_FILE") for name in re.findall(r"\bTRACKING_[A-Z_]+", TEXT)}
    assert named <= {f"TRACKING_{name.upper()}" for name in Settings.model_fields}


def test_every_message_in_the_troubleshooting_table_is_one_the_code_says() -> None:
    cells = [row[0] for row in rows("docs/operating.md", "## Troubleshooting")]
    messages = [match.group(1) for cell in cells if (match := re.fullmatch(r"`(.+)`", cell))]
    assert len(messages) >= 8
    folded = re.sub(r'"\s*\n\s*f?"', "", SOURCES)
    assert [message for message in messages if message not in folded] == []


def test_every_scenario_and_every_word_is_in_its_table() -> None:
    scenarios = {row[0].strip("`"): row[1] for row in rows("docs/sandbox.md", "## Scenarios")}
    words = {row[0].strip("`[]"): row[1] for row in rows("docs/sandbox.md", "## Words for an order's Note")}
    assert scenarios == {name: scenario.summary for name, scenario in SCENARIOS.items()}
    assert words == dict(NOTE_WORDS)


def test_every_endpoint_of_the_sandbox_is_in_the_table() -> None:
    routes = re.findall(r'Route\("(/sandbox/\w+)", .*methods=\["(\w+)"\]', SOURCES)
    served = {(method, path) for path, method in routes}
    cells = [row[0].strip("`").partition("?")[0] for row in rows("docs/sandbox.md", "## Its own endpoints")]
    assert {tuple(cell.split()) for cell in cells} == served


def test_every_command_is_in_the_table_with_its_options() -> None:
    import typer.main  # noqa: PLC0415 - typer and all it brings, for this one test

    from tracking.app.cli.main import app  # noqa: PLC0415 - the same

    commands = typer.main.get_group(app).commands
    table = {row[0].strip("`").split()[0]: " ".join(row) for row in rows("docs/operating.md", "## Command line")}
    assert set(table) == set(commands)
    for name, command in commands.items():
        of = [command, *getattr(command, "commands", {}).values()]
        options = {option for each in of for parameter in each.params for option in parameter.opts if "--" in option}
        assert set(re.findall(r"--[a-z-]+", table[name])) == options - {"--json", "--help"}, name
    assert set(re.findall(r"`tracking ([a-z][a-z-]+)", TEXT)) <= set(commands)


@pytest.fixture
def backend(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """All roles in one process over an empty store, with a provider that nobody reaches."""
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    shutil.copy(migrated_file, tmp_path / "tracking.db")
    provider = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": "hush-hush"}
    built = Backend(load(database_url=f"sqlite:///{tmp_path / 'tracking.db'}", **provider))
    yield built
    built.database.close()


def get(backend: Backend, path: str) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(backend.asgi(lifespan=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get(path)

    return asyncio.run(run())


def test_every_metric_is_in_the_table_with_its_type(backend: Backend) -> None:
    served = dict(re.findall(r"^# TYPE (tracking_\w+) (\w+)$", get(backend, "/metrics").text, re.MULTILINE))
    assert {row[0].strip("`").partition("{")[0]: row[1] for row in rows("docs/operating.md", METRICS)} == served


def test_the_health_document_has_the_shape_that_is_shown(backend: Backend) -> None:
    example = json.loads(OPERATING.split("```json\n", 1)[1].split("```", 1)[0])
    assert shape(example) == shape(get(backend, "/healthz").json())


def shape(value: object) -> object:
    """The names in a JSON value, all the way down."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def test_every_address_is_there(backend: Backend) -> None:
    part = OPERATING.split("\n## Addresses\n", 1)[1].split("\n## ", 1)[0]
    pages = {f"/{path}" for path in page_paths(ROOT / "pages" / "navigation.py") if path}
    served = {getattr(route, "path", "") for route in backend.routes()}
    assert set(re.findall(r"`(/\w*)", part)) == pages | {"/"}
    assert set(re.findall(r"`(?:GET|POST) ([^`]+)`", part)) <= served


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", TEXT, re.MULTILINE))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(named) >= 8
    assert named <= targets


def test_the_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGES["README.md"])
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def anchors(text: str) -> set[str]:
    """What links to the page's headings are made of."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text()), target


def resolved(name: str) -> bool:
    """Whether the dotted name is a module of the package, or something inside of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["tracking", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[length:])
    return False


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_function_that_is_named_exists(page: str) -> None:
    names = set(re.findall(rf"`((?:{ROOMS})(?:\.\w+)+)`", PAGES[page])) - {"storage.migrations.env"}
    if page == "docs/architecture.md":
        assert len(names) > 30
    missing = [name for name in sorted(names) if not resolved(name)]
    assert not missing, missing


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert resolved("webhooks.receiver.Receiver")
    assert not resolved("webhooks.receiver.Doorbell")
    assert not resolved("webhooks.nowhere")


# Of what a page says, the place in the code that says the same.
FIGURES = [
    ("docs/operating.md", "32 kB of a head", "app.web.connection_limits.MAX_HEAD_BYTES", 32 * 1024),
    ("docs/operating.md", "10 seconds for it", "app.web.connection_limits.HEAD_SECONDS", 10),
    ("docs/operating.md", "400 connections", "app.web.connection_limits.MAX_CONNECTIONS", 400),
    ("docs/operating.md", "5 seconds for a webhook's body", "webhooks.receiver.SECONDS_TO_READ", 5),
    (
        "docs/operating.md",
        "without a heartbeat for 15 seconds",
        "storage.facts.LOOP_SILENT_AFTER",
        timedelta(seconds=15),
    ),
    ("docs/operating.md", "20 at most for a line", "storage.claims.VERSIONS_STORED", 20),
    ("docs/operating.md", "more than a quarter of an hour", "storage.outbox.FURTHEST_SEND", timedelta(minutes=15)),
    ("docs/operating.md", "at 256 MB the pages say so", "reports.health.WAL_LARGE", 256 * 1024 * 1024),
    ("docs/operating.md", "five seconds at most", "storage.engines.BUSY_MILLISECONDS", 5000),
    ("docs/schedule.md", "refitted every minute", "polling.learner.REFIT_EVERY", 60),
    ("docs/schedule.md", "every five minutes", "polling.poller.SWEEP_EVERY", timedelta(minutes=5)),
    ("docs/schedule.md", "later by a quarter of the wait", "polling.due_orders.FOLLOW_PATIENCE", 0.25),
    ("docs/schedule.md", "than half the order's age", "forecasting.survival.GUARD", 0.5),
    ("docs/schedule.md", "99 of 100 of those that complete", "forecasting.finish_times.LATE_SHARE", 0.99),
    ("docs/schedule.md", "before 30 have completed", "forecasting.classes.RELIABLE_ORDERS", 30),
    ("docs/schedule.md", "the newest 400 completed orders", "forecasting.finish_times.NEWEST", 400),
    ("docs/schedule.md", "the newest 100", "forecasting.finish_times.LATEST", 100),
    ("docs/schedule.md", "the newest 30 took longer", "forecasting.finish_times.SLOWED_ORDERS", 30),
    ("docs/schedule.md", "Ten or more late orders", "forecasting.incidents.MANY_LATE", 10),
    ("docs/schedule.md", "every ten seconds", "polling.learner.LATE_CHECK_EVERY", 10),
    ("docs/schedule.md", "once in ten thousand orders", "forecasting.incidents.NO_CHANCE", math.log(10_000)),
    ("docs/schedule.md", "newest 2,000 orders", "polling.backtest.history.ORDERS_REPLAYED", 2000),
    ("docs/schedule.md", "orders of a week", "polling.backtest.comparison.SPAN", timedelta(days=7)),
    ("docs/schedule.md", "give or take two seconds", "orders.latency.TOLERANCE", timedelta(seconds=2)),
    ("docs/schedule.md", "the newest 4,000 orders", "reports.insights.latency.ORDERS_MEASURED", 4_000),
]


@pytest.mark.parametrize(("page", "text", "name", "value"), FIGURES, ids=[name for _, _, name, _ in FIGURES])
def test_every_figure_in_a_sentence_is_the_codes(page: str, text: str, name: str, value: object) -> None:
    assert text in " ".join(PAGES[page].split())
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(f"tracking.{module}"), constant) == value


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    named = re.findall(r"`((?:pages|tests|tracking|docs)/[\w./-]*)`", PAGES[page])
    missing = [name for name in named if not (ROOT / name).exists() and "NAME" not in name]
    assert not missing, missing


def test_every_rule_of_alerts_is_in_its_table_with_its_times() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows("docs/alerts.md", "## Rules")}
    assert table == {
        name: [
            rule.when,
            wording.duration(rule.lasts),
            wording.duration(rule.clear),
            "sent" if rule.urgent else "waits",
        ]
        for name, rule in RULES.items()
    }
