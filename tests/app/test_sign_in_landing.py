"""People land where they wanted to go, and nowhere else."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tracking.app.web.page_middleware import BROWSER_COOKIE
from tracking.app.web.sign_in_landing import LONGEST_SIGN_IN, MOST, Landings, SignInLandingMiddleware


async def _callback(request: Request) -> Response:
    answer = RedirectResponse("/ops/", status_code=302)
    if request.query_params.get("code"):
        answer.set_cookie("_streamlit_user", "signed")
    else:
        answer.delete_cookie("_streamlit_user")
    return answer


def location(landings: Landings, address: str, browser: str = "b1") -> str:
    """Where the provider's answer at this address leads a browser."""
    routes = [Route("/ops/oauth2callback", _callback), Route("/ops/other", _callback)]
    application = Starlette(routes=routes, middleware=[Middleware(SignInLandingMiddleware, landings=landings)])

    async def run() -> str:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.example") as client:
            client.cookies.set(BROWSER_COOKIE, browser)
            return str((await client.get(address)).headers["Location"])

    return asyncio.run(run())


def test_a_sign_in_leads_to_the_page_that_was_asked_for_once_and_in_that_browser() -> None:
    landings = Landings()
    landings.note("b1", "https://console.example/ops/orders?state=Pending&q=a%26b")
    assert location(landings, "/ops/oauth2callback?code=1", browser="b2") == "/ops/"
    assert location(landings, "/ops/oauth2callback?error=1") == "/ops/", "one that failed leads to no page"
    assert location(landings, "/ops/other?code=1") == "/ops/"
    assert location(landings, "/ops/oauth2callback?code=1") == "/ops/orders?state=Pending&q=a%26b"
    assert location(landings, "/ops/oauth2callback?code=1") == "/ops/"


@pytest.mark.parametrize(
    "address",
    ["https://console.example//evil.example/x", "https://console.example/\\evil.example", "", "?q=1", "mailto:x"],
)
def test_no_address_leads_to_another_host(address: str) -> None:
    landings = Landings()
    landings.note("b1", address)
    assert landings.take("b1") is None


def test_what_is_noted_is_bounded_and_forgotten() -> None:
    now = 0.0
    landings = Landings(lambda: now)
    landings.note("", "http://h/orders")
    assert landings.take("") is None
    for number in range(MOST + 1):
        landings.note(str(number), "http://h/orders")
    assert (landings.take("0"), landings.take("1")) == (None, "/orders")
    now = LONGEST_SIGN_IN + 1
    assert landings.take("2") is None
