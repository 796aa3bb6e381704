import re
import socket
from pathlib import Path

import httpx
import pytest
from processes.children import ROOT, Nursery


def own_address() -> str | None:
    """An address of this machine that other machines could reach, found without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = asking.getsockname()[0]
        return None if address.startswith("127.") else address


@pytest.mark.parametrize(
    ("options", "settings", "told"),
    [
        (["--server.address", "0.0.0.0"], {}, "server.address: 0.0.0.0 can be reached from other machines"),
        ([], {"VIEWERS": "*@example.com"}, ".streamlit/secrets.toml: TRACKING_OPERATORS or TRACKING_VIEWERS is set"),
    ],
)
def test_a_start_that_would_show_the_pages_to_anyone_ends_with_2(
    children: Nursery, tmp_path: Path, options: list[str], settings: dict[str, object], told: str
) -> None:
    none = ["--secrets.files", str(tmp_path / "no-secrets.toml")]
    started = children.streamlit(settings, cwd=tmp_path, script=str(ROOT / "dashboard.py"), options=[*options, *none])
    assert started.ends() == 2, started.said
    assert told in started.said
    assert "Traceback" not in started.said


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("[auth]\nx = 1\n".encode("utf-16"), marks=pytest.mark.long),
        pytest.param(b"[auth\n", marks=pytest.mark.long),
        b'auth = "canary"\n',
    ],
)
def test_secrets_that_cannot_be_read_end_the_start_with_2(children: Nursery, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secrets.toml").write_bytes(data)
    options = ["--server.address", "127.0.0.1", "--secrets.files", str(tmp_path / "secrets.toml")]
    started = children.streamlit(options=options)
    assert started.ends() == 2, started.said
    assert ".streamlit/secrets.toml: cannot be read: it must be TOML in UTF-8" in started.said
    assert "Traceback" not in started.said
    assert "canary" not in started.said


def test_another_server_on_all_addresses_shows_the_pages_to_this_machine_alone(children: Nursery) -> None:
    console = children.uvicorn(options=["--host", "0.0.0.0"]).ready()
    port = console.url.rpartition(":")[2]
    with httpx.Client(trust_env=False) as client:
        assert "<html" in client.get(f"{console.url}/").text
        rebound = client.get(f"{console.url}/", headers={"Host": "rebound.example.com"})
        forwarded = client.get(f"{console.url}/", headers={"X-Forwarded-For": "192.0.2.9"})
        assert (rebound.status_code, forwarded.status_code) == (403, 403)
        if address := own_address():
            assert client.get(f"http://{address}:{port}/_stcore/host-config").status_code == 403
            assert client.get(f"http://{address}:{port}/healthz").status_code == 200


def test_below_a_base_path_everything_is_served_and_nothing_answers_in_its_name(
    children: Nursery, tmp_path: Path
) -> None:
    none = ["--secrets.files", str(tmp_path / "no-secrets.toml"), "--server.address", "127.0.0.1"]
    console = children.streamlit(options=["--server.baseUrlPath", "console", *none]).ready()
    with httpx.Client(trust_env=False, base_url=console.url) as client:
        for path in ("/healthz", "/console/healthz"):
            answered = client.get(path)
            assert (answered.status_code, answered.headers["Content-Type"]) == (200, "application/json")
        assert client.get("/console/metrics").headers["Content-Type"].startswith("text/plain")
        for page in ("/console/", "/console/orders"):
            assert "<html" in client.get(page).text
        token = "a" * 43
        for path in (f"/console/webhooks/fulfillment/{token}", f"/webhooks/fulfillment/{token}"):
            assert client.post(path, content=b"{}").status_code == 404
            assert client.get(path).text == client.post(path, content=b"{}").text, "the receiver's one answer"
            assert client.post(path, content=b"{}").headers["X-Content-Type-Options"] == "nosniff"
        for nowhere in ("/console/health", "/console/x/healthz", "/orders", "/x", "/console/static/x.js"):
            assert client.get(nowhere).status_code == 404
        shown = client.get("/console/").text
        script = re.search(r'src="\./(static/js/[^"]+)"', shown)
        assert script is not None
        assert client.get(f"/console/{script[1]}").status_code == 200
