"""The samples of docs/operating are what the tools that read them take, and name only what the console has."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.fernet import Fernet
from operating import behind_nginx
from processes.children import Nursery, free_port, nursery, until

from tracking.app.web.metrics import metrics_text
from tracking.settings.loading import load
from tracking.settings.roles import Role
from tracking.settings.values import Settings
from tracking.storage.database import Database

SAMPLES = Path(__file__).parents[2] / "docs/operating"
MONITORING = SAMPLES / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS = json.loads((MONITORING / "grafana-dashboard.json").read_text())["panels"]
UNITS = sorted((SAMPLES / "systemd").iterdir())
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(program: str, *arguments: object, cwd: Path | None = None) -> str:
    """What the program says of a sample; skipped where it is not installed."""
    path = shutil.which(program, path=PROGRAMS)
    if path is None:
        pytest.skip(f"no {program} here")
    done = subprocess.run([path, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_alert_rules_are_what_prometheus_takes_and_go_off_when_they_should() -> None:
    assert f"{len(RULES)} rules found" in run("promtool", "check", "rules", MONITORING / "alerts.yml")
    assert "SUCCESS" in run("promtool", "test", "rules", "alerts_test.yml", cwd=MONITORING)
    assert "valid" in run("promtool", "check", "config", MONITORING / "prometheus.yml")


def test_every_metric_that_rules_and_dashboard_name_is_one_of_ours(store: Database, now: Any) -> None:
    served = set(re.findall(r"^# TYPE (\w+)", metrics_text(store, now).decode(), re.MULTILINE))
    expressions = [rule["expr"] for rule in RULES]
    expressions += [target["expr"] for panel in PANELS for target in panel["targets"]]
    named = {name for text in expressions for name in re.findall(r"\b(?:tracking|process)_\w+", text)}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} <= served
    assert len(named) > 15


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for unit in UNITS:
        # A unit whose program is not there is refused, and of a template an instance is asked about.
        text = unit.read_text().replace("/opt/tracking/bin/tracking", "/bin/true")
        (tmp_path / unit.name.replace("@", "@8600")).write_text(text)
    assert not run("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())).strip()


def test_the_caddyfile_is_what_caddy_takes() -> None:
    arguments = ("validate", "--adapter", "caddyfile", "--config", SAMPLES / "proxy/Caddyfile")
    assert "Valid configuration" in run("caddy", *arguments)


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((SAMPLES / "container/compose.yaml").read_text())


def settings_of(compose: Any) -> Iterator[str]:
    for service in compose["services"].values():
        yield from (name for name in service.get("environment", {}) if name.startswith("TRACKING_"))


def test_the_compose_file_and_the_units_set_only_what_there_is(compose: Any) -> None:
    texts = [*settings_of(compose)]
    for file in (*UNITS, SAMPLES / "container/Containerfile", SAMPLES / "proxy/nginx.conf"):
        texts += re.findall(r"\bTRACKING_[A-Z_]+", file.read_text())
    fields = {f"TRACKING_{name.upper()}" for name in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in texts} <= fields
    secrets = set(compose["secrets"])
    for service in compose["services"].values():
        assert set(service.get("secrets", [])) <= secrets
        for name, value in service.get("environment", {}).items():
            assert not name.endswith("_FILE") or Path(value).name in secrets


def test_the_settings_of_the_compose_file_are_ones_to_start_with(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "database_url": "postgresql+psycopg://tracking:made-up@database/tracking",
        "webhook_secret": "made-up-and-long-enough",
        "claims_key": Fernet.generate_key().decode(),
        "provider_token": "made-up",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.chdir(tmp_path)
    image = re.findall(r"(TRACKING_\w+)=(\S+)", (SAMPLES / "container/Containerfile").read_text())
    for service in (compose["services"]["worker"], compose["services"]["console"]):
        for name, value in {**dict(image), **service["environment"]}.items():
            monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path)))
        settings = load()
        assert settings.database_url == texts["database_url"]
        assert settings.api_access_token is not None
        assert settings.api_access_token.get_secret_value() == "made-up"
        assert (settings.roles == {Role.PAGES}) == (service is compose["services"]["console"])


def test_every_service_that_serves_says_whether_it_works(compose: Any) -> None:
    serving = [service for service in compose["services"].values() if service.get("ports")]
    assert len(serving) == 2
    for service in serving:
        # The image asks the console's own port; what listens on another says so itself.
        own = any(port.endswith(":8501") for port in service["ports"])
        assert own or any("/healthz" in part for part in service["healthcheck"]["test"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "only the proxy is for others"


def test_the_container_runs_as_nobody_special_and_is_looked_after() -> None:
    text = (SAMPLES / "container/Containerfile").read_text()
    stages = text.split("\nFROM ")
    user = re.findall(r"^USER (\d+)", stages[-1], re.MULTILINE)
    assert user
    assert int(user[-1]) > 1000
    assert "HEALTHCHECK" in stages[-1]
    assert re.findall(r"^CMD (\[.*\])", stages[-1], re.MULTILINE) == [
        '["console", "--host", "0.0.0.0", "--port", "8501"]'
    ]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    with nursery(tmp_path) as started:
        yield started


def test_a_worker_behind_the_nginx_sample_answers_below_its_path(children: Nursery) -> None:
    port, tls = free_port(), free_port()
    public = f"https://127.0.0.1:{tls}/ops"
    worker = children.worker({"ROLES": "webhooks", "PUBLIC_URL": public, "WEBHOOK_SECRET": "made-up-" * 4}, port=port)
    proxy = behind_nginx.start(children, console=port, tls=tls)
    worker.ready("/readyz")
    with httpx.Client(base_url=proxy.url, verify=proxy.trust(), trust_env=False) as client:
        until("nginx", lambda: not proxy.child.said and _answers(client), within=10)
        assert client.get("/ops/readyz").json()["status"] == "ready"
        assert client.post("/ops/webhooks/fulfillment/forged", json={}).status_code == worker_refusal(worker.url)
        assert [client.get(path).status_code for path in ("/", "/healthz", "/ops")] == [404, 404, 301]
        assert client.get("/ops/api/v1/orders").status_code == 401
        assert client.get("/ops/api/v1/openapi.json").status_code == 200
    assert "forged" not in (children.folder / "nginx/access.log").read_text(), "webhook addresses are secrets"


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ops/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def worker_refusal(url: str) -> int:
    """What the worker itself answers to a call that proves nothing."""
    return httpx.post(f"{url}/webhooks/fulfillment/forged", json={}, trust_env=False).status_code
