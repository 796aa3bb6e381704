import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes.children import ROOT
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tracking.app.web.address_check import AddressCheckMiddleware, page_paths, path_prefixes

PAGES = frozenset({"", "orders"})


def test_everything_is_served_at_the_root_below_the_base_path_and_where_the_provider_calls() -> None:
    assert path_prefixes("", None) == ("",)
    assert path_prefixes("/console/", "https://host.example.com") == ("", "/console")
    assert path_prefixes("console", "https://host.example.com/console/") == ("", "/console")
    assert path_prefixes("", "https://host.example.com/hooks/in") == ("", "/hooks/in")


def test_the_pages_are_those_that_the_script_declares() -> None:
    declared = page_paths(ROOT / "pages" / "navigation.py")
    assert {"", "orders", "timeline", "submit", "activity"} <= declared
    files = set(re.findall(r'"(\w+\.py)"', (ROOT / "pages" / "navigation.py").read_text()))
    assert len(files) == len(declared)
    assert all((ROOT / "pages" / file).is_file() for file in files)


class CatchAll(StaticFiles):
    """Serves its page at every address that is no file, as Streamlit does."""

    async def get_response(self, path: str, scope: Any) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            return Response(status_code=405)
        return Response("there", media_type="text/javascript") if path.endswith(".js") else HTMLResponse("page")


def asked(*addresses: str, base_path: str = "", root_path: str = "", folder: Path) -> list[str]:
    """The status of each answer and what it is, one word each; an address may begin with its method."""

    async def beside(request: Any) -> Response:
        return JSONResponse({}) if request.method == "GET" else Response(status_code=404)

    prefixes = path_prefixes(base_path, "https://host.example.com/hooks")
    routes = [Route(f"{prefix}/healthz", beside) for prefix in prefixes]
    routes += [Route(f"{prefix}/webhooks/{{rest:path}}", beside, methods=["GET", "POST"]) for prefix in prefixes]
    mount = Mount(f"/{base_path}".rstrip("/") or "/", app=CatchAll(directory=folder))
    application = AddressCheckMiddleware(
        Starlette(routes=[*routes, mount]), routes=routes, base_path=base_path, pages=PAGES
    )

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(application, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            parts = [address.rpartition(" ")[::2] for address in addresses]
            return [await client.request(method or "GET", path) for method, path in parts]

    answers = asyncio.run(ask())
    return [f"{each.status_code} {each.headers.get('content-type', '').partition(';')[0]}".strip() for each in answers]


@pytest.mark.parametrize(("base_path", "prefix"), [("", ""), ("console", "/console"), ("/a/b/", "/a/b")])
def test_pages_and_what_lies_beside_them_are_there_and_nothing_else(
    base_path: str, prefix: str, tmp_path: Path
) -> None:
    there = [f"{prefix}/", f"{prefix}/orders", f"{prefix}/orders/", f"{prefix}/component/x/y.html"]
    assert asked(*there, base_path=base_path.strip("/"), folder=tmp_path) == ["200 text/html"] * 4
    files = [f"{prefix}/static/x.js"]
    assert asked(*files, base_path=base_path.strip("/"), folder=tmp_path) == ["200 text/javascript"]
    beside = [f"{prefix}/healthz", "/healthz", "/hooks/healthz"]
    assert asked(*beside, base_path=base_path.strip("/"), folder=tmp_path) == ["200 application/json"] * 3
    nowhere = [
        *(f"{prefix}/{path}" for path in ("healthz/", "healthz/x", "health", "orders/x", "x/healthz", "static/x")),
        *(f"{prefix}/x/webhooks/fulfillment/t", f"POST {prefix}/x/webhooks/fulfillment/t", "POST /x/healthz"),
        *(
            f"POST {prefix}/webhooks/fulfillment/t",
            "POST /webhooks/fulfillment/t",
            "POST /hooks/webhooks/fulfillment/t",
        ),
        *("/hooks/orders", "/consol/healthz", f"HEAD {prefix}/x"),
    ]
    answers = asked(*nowhere, base_path=base_path.strip("/"), folder=tmp_path)
    assert {answer[:3] for answer in answers} == {"404"}


def test_the_root_path_of_the_server_is_no_part_of_an_address(tmp_path: Path) -> None:
    there = ["/app/healthz", "/app/orders", "/app/nowhere"]
    assert asked(*there, root_path="/app", folder=tmp_path) == [
        "200 application/json",
        "200 text/html",
        "404 text/plain",
    ]
