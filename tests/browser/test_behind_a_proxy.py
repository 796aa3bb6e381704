"""The console below a path, behind the nginx sample with TLS: signing in, pages, live figures and webhooks."""

import json
import re
import sys
from pathlib import Path

import httpx
import pytest
from operating import behind_nginx
from playwright.sync_api import Browser, expect
from processes.children import Nursery, free_port, nursery, until
from processes.over_http import submit

from tracking.storage.database import connect
from tracking.storage.tables import CALLBACKS
from tracking.submissions.requests import read_request
from tracking.webhooks.addresses import make_token

pytestmark = [pytest.mark.browser, pytest.mark.long]

PO_NUMBER = "PROXY-4711"
ORDER = {
    "Type": "Links",
    "PONumber": PO_NUMBER,
    "LineItems": [{"ProductId": "CVS", "Value": 10, "Quantity": 1, "ExternalId": "x"}],
}
SECRET = "made-up-for-this-test-and-long-enough"


def start(children: Nursery) -> behind_nginx.Proxy:
    """A console that asks people to sign in, below /ops behind nginx."""
    port, tls, at = free_port(), free_port(), free_port()
    claims = json.dumps({"sub": "ann", "email": "ann@example.com", "email_verified": True})
    mock = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(at), "--user-claims", claims]
    provider = children.serve(mock, at, {})
    secrets = children.folder / "secrets.toml"
    secrets.write_text(
        "[auth]\n"
        f'redirect_uri = "https://127.0.0.1:{tls}/ops/oauth2callback"\n'
        f'cookie_secret = "{SECRET}"\n'
        'client_id = "console"\nclient_secret = "made up too"\n'
        f'server_metadata_url = "http://127.0.0.1:{at}/.well-known/openid-configuration"\n'
    )
    store = connect(children.database_url)
    try:
        submit(store, [read_request(ORDER)])
    finally:
        store.close()
    settings = {"OPERATORS": "ann@example.com", "WEBHOOK_SECRET": SECRET, "PUBLIC_URL": f"https://127.0.0.1:{tls}/ops"}
    options = ["--secrets.files", str(secrets), "--server.baseUrlPath", "ops"]
    console = children.streamlit(settings, port=port, options=options)
    proxy = behind_nginx.start(children, console=port, tls=tls)
    provider.ready("/.well-known/openid-configuration")
    console.ready("/ops/readyz", within=90)
    return proxy


def test_all_of_it_works_below_a_path_behind_nginx(browser: Browser, tmp_path: Path) -> None:
    with nursery(tmp_path) as children:
        proxy = start(children)
        context = browser.new_context(base_url=proxy.url, ignore_https_errors=True)
        page = context.new_page()
        page.set_default_timeout(60_000)
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        probes = "/timeline/_stcore/"  # the pages find out by themselves below which path they are

        page.goto(f"/ops/timeline?order={PO_NUMBER}")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="ann", exact=True).click()
        expect(page.locator(".st-key-story")).to_be_visible()
        assert page.url == f"{proxy.url}/ops/timeline?order={PO_NUMBER}", "people land where they wanted to go"
        cookies = [cookie for cookie in context.cookies() if "127.0.0.1" in cookie["domain"]]
        ours = [cookie for cookie in cookies if cookie["name"].startswith(("_streamlit", "tracking_"))]
        assert ours
        assert [cookie["name"] for cookie in ours if not cookie["secure"]] == []

        page.locator(".st-key-who button").click()
        expect(page.get_by_text("ann@example.com, operator")).to_be_visible()
        page.goto("/ops/")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        link = page.get_by_role("link", name=re.compile("^Orders")).first
        link.click()
        expect(page).to_have_url(re.compile(r"/ops/orders"))
        expect(page.get_by_text(re.compile(r"\d+ orders")).first).to_be_visible()

        with httpx.Client(base_url=proxy.url, verify=proxy.trust(), trust_env=False) as provider:
            called = {"PONumber": PO_NUMBER, "Action": "FulfillmentComplete"}
            token = make_token(PO_NUMBER, SECRET)
            assert provider.post(f"/ops/webhooks/fulfillment/{token}", json=called).status_code == 204
            assert provider.get("/ops/metrics").status_code == 200

        def received() -> int:
            store = connect(children.database_url)
            with store.read() as connection:
                return len(connection.execute(CALLBACKS.select().where(CALLBACKS.c.outcome == "accepted")).all())

        until("the webhook", lambda: received() >= 1, within=10)
        assert [url for url in failed if probes not in url] == []
        context.close()
