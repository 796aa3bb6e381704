import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import httpx
import pytest
from pydantic import SecretStr

from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    DuplicateOrder,
    InsufficientFunds,
    NotFound,
    NotSent,
    NotTheProvider,
    OutcomeUnknown,
    ProviderError,
    RequestRejected,
    SettingsError,
    Throttled,
    UnreadableAnswer,
)
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.client import Client
from tracking.provider.http.session import ApiAccount, ApiLimits, TimeSource
from tracking.provider.json_fields import digest_of
from tracking.provider.responses import Token
from tracking.settings.values import Settings

T = TypeVar("T")
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EMAIL, SECRET, TOKEN = "canary-email@example.com", "canary-access-token", "canary-bearer-token"
RECIPIENT, LINK, HOOK = "canary-recipient@example.com", "https://claim.example/canary-link", "canary-hook-secret"
CANARIES = (EMAIL, SECRET, TOKEN, "canary-recipient", "canary-link", HOOK)
REQUEST: dict[str, Any] = {
    "Type": "DigitalDelivery",
    "PONumber": "demo-1",
    "LineItems": [
        {"ProductId": "CVS", "Value": 10, "Quantity": 1, "DigitalDeliveryAddress": {"Email": RECIPIENT}},
    ],
    "WebhookSettings": {"FulfillmentComplete": f"https://hooks.example/{HOOK}"},
}
ORDER: dict[str, Any] = REQUEST | {
    "Id": "BLK-1",
    "Status": "Completed",
    "LineItems": [REQUEST["LineItems"][0] | {"Status": "Completed", "ClaimData": [{"ClaimLink": LINK}]}],
}
Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class World:
    """A provider behind a stub transport, with a clock that only sleeping moves."""

    def __init__(
        self, answer: Handler | httpx.Response | Exception, *, rate: float = 1000, timeout: float = 30
    ) -> None:
        self.seconds = 1000.0
        self.real_wait = 0.0  # seconds that each sleep really takes
        self.answer = answer
        self.tokens: list[Any] = [httpx.Response(200, json={"Value": TOKEN, "ExpiresIn": 3600})]
        self.requests: list[httpx.Request] = []
        self.starts: list[float] = []
        self.records: list[ApiCallRecord] = []
        times = TimeSource(
            clock=lambda: START + timedelta(seconds=self.seconds - 1000),
            monotonic=lambda: self.seconds,
            sleep=self._sleep,
        )
        self.client = Client(
            ApiAccount("https://provider.example", EMAIL, SECRET),
            limits=ApiLimits(rate, timeout),
            times=times,
            transport=httpx.MockTransport(self._handle),
            record=self.records.append,
        )

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(self.real_wait)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.starts.append(self.seconds)
        if request.url.path == "/v1/Tokens":
            answer = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        else:
            answer = self.answer
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            made: httpx.Response | Awaitable[httpx.Response] = answer(request)
            return made if isinstance(made, httpx.Response) else await made
        # One response object serves once: a stream that was read is gone.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async def main() -> T:
            try:
                return await work(self.client)
            finally:
                await self.client.aclose()

        return asyncio.run(main())


def place(client: Client) -> Awaitable[Any]:
    return client.place(REQUEST)


def look(client: Client) -> Awaitable[Any]:
    return client.order("BLK-1")


def created() -> httpx.Response:
    return httpx.Response(201, json=ORDER)


def listed(*items: Any, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"Data": list(items)} | more)


def failure(world: World, work: Callable[[Client], Awaitable[Any]]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        world.run(work)
    return caught.value


# Orders


def test_an_order_is_placed_with_one_token_and_answered_with_what_it_became() -> None:
    world = World(created())
    answer = world.run(place)
    token, post = world.requests
    assert (token.method, token.headers["Email"], token.headers["AccessToken"]) == ("POST", EMAIL, SECRET)
    assert token.content == b""
    assert post.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(post.content) == REQUEST
    assert answer.order.snapshot.provider_id == "BLK-1"
    assert answer.digest == digest_of(ORDER)


def test_an_order_known_by_its_digest_is_not_read_again() -> None:
    world = World(httpx.Response(200, json=ORDER))
    answer = world.run(lambda client: client.order("BLK-1", last_digest=digest_of(ORDER)))
    assert answer.order is None
    assert world.records[-1].answer == '"unchanged"'


def test_the_digest_of_a_single_answer_equals_that_of_a_list_item() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return listed(ORDER) if request.url.path == "/v1/Orders" else httpx.Response(200, json=ORDER)

    async def both(client: Client) -> tuple[str, str]:
        page = await client.orders(page=1)
        return (await client.order("BLK-1")).digest, page.orders[0].digest

    single, item = World(answer).run(both)
    assert single == item


def test_an_id_stays_one_part_of_the_path() -> None:
    world = World(httpx.Response(404))
    with pytest.raises(NotFound):
        world.run(lambda client: client.order("../Tokens?x=1"))
    assert world.requests[-1].url.raw_path == b"/v1/Orders/..%2FTokens%3Fx%3D1"
    with pytest.raises(NotFound):
        World(created()).run(lambda client: client.order(".."))


def test_the_answer_of_another_order_is_unreadable_for_a_look_and_unknown_for_a_post() -> None:
    other = ORDER | {"Id": "BLK-2", "PONumber": "demo-2"}
    assert isinstance(failure(World(httpx.Response(200, json=other)), look), UnreadableAnswer)
    assert isinstance(failure(World(httpx.Response(201, json=other)), place), OutcomeUnknown)


@pytest.mark.parametrize("lines", [None, [], [{"ProductId": "CVS", "Value": "ten", "Quantity": 1}], {}])
def test_an_answer_that_names_our_po_number_is_our_order_whatever_it_shows_of_its_lines(lines: Any) -> None:
    answer = World(httpx.Response(201, json=ORDER | {"LineItems": lines})).run(place)
    assert (answer.order.snapshot.provider_id, answer.order.snapshot.lines) == ("BLK-1", ())
    nameless = httpx.Response(201, json=ORDER | {"LineItems": lines, "PONumber": None})
    assert isinstance(failure(World(nameless), place), OutcomeUnknown)


def test_an_answer_that_is_not_packed_as_it_says_is_told_as_such() -> None:
    async def plain() -> AsyncIterator[bytes]:
        yield json.dumps(ORDER).encode()

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=plain())

    error = failure(World(answer), look)
    assert (type(error), str(error)) == (UnreadableAnswer, "the answer is not packed as its Content-Encoding says")
    assert type(failure(World(answer), place)) is OutcomeUnknown


def test_a_refusal_in_the_charset_it_names_is_one() -> None:
    body = '{"Errors": [{"Property": "Note", "Errors": ["ung\u00fcltig"]}]}'.encode("latin-1")
    charset = {"Content-Type": "application/json; charset=iso-8859-1"}
    assert "ung\u00fcltig" in str(failure(World(httpx.Response(400, headers=charset, content=body)), place).reason)  # type: ignore[attr-defined]  # of a rejection
    assert type(failure(World(httpx.Response(400, content=body)), place)) is NotTheProvider


UNREADABLE = [b"<html>", b"", b"{}", b"[]", b"null", b'{"Id": NaN}', b'{"Id": "BLK-1"', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("body", UNREADABLE)
def test_a_2xx_that_cannot_be_read_is_unreadable_for_a_look_and_unknown_for_a_post(body: bytes) -> None:
    assert type(failure(World(httpx.Response(200, content=body)), look)) is UnreadableAnswer
    unknown = failure(World(httpx.Response(201, content=body)), place)
    assert type(unknown) is OutcomeUnknown
    assert unknown.status == 201


def test_an_answer_above_the_limit_is_dropped_while_it_streams() -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"[" * 1024 * 1024

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=endless())

    assert type(failure(World(answer), look)) is UnreadableAnswer
    assert pieces == 33


def test_an_answer_that_comes_compressed_though_nobody_asked_is_read() -> None:
    body = gzip.compress(json.dumps(ORDER).encode())

    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["Cache-Control"] == "no-cache"  # nor is an answer that a proxy kept an answer
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=body)

    assert World(answer).run(look).order.snapshot.provider_id == "BLK-1"


def test_an_order_of_five_thousand_lines_fits() -> None:
    lines = [ORDER["LineItems"][0] | {"ExternalId": f"row-{number}"} for number in range(5000)]
    answer = World(httpx.Response(201, json=ORDER | {"LineItems": lines})).run(place)
    assert len(answer.order.snapshot.lines) == 5000


# Errors

READ_ERRORS = [httpx.ReadTimeout("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x"), httpx.WriteError("x")]
CONNECT_ERRORS = [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")]


@pytest.mark.parametrize("error", CONNECT_ERRORS)
@pytest.mark.parametrize("work", [place, look])
def test_without_a_connection_nothing_was_sent(error: Exception, work: Callable[[Client], Awaitable[Any]]) -> None:
    assert type(failure(World(error), work)) is NotSent


@pytest.mark.parametrize("error", [*READ_ERRORS, *(httpx.Response(status) for status in (408, 500, 502, 504, 520))])
@pytest.mark.parametrize("work", [place, look])
def test_a_timeout_a_broken_connection_and_a_5xx_leave_the_outcome_unknown(
    error: Any, work: Callable[[Client], Awaitable[Any]]
) -> None:
    assert type(failure(World(error), work)) is OutcomeUnknown


def test_an_answer_that_never_ends_is_given_up_after_the_timeout() -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        return created()

    assert type(failure(World(answer, timeout=0.05), place)) is OutcomeUnknown


NGINX = {"Server": "nginx/1.25.3", "Via": "1.1 proxy.example.com", "Content-Type": "text/html; charset=utf-8"}
FOREIGN: list[tuple[int, bytes, str]] = [
    (301, b"", "a redirect"),
    (302, b"<html>We are back soon</html>", "a maintenance page"),
    (307, b"<html><form action=/login><input type=password></form></html>", "a sign-in page"),
    (304, b"", "a redirect"),
    (400, b"<html><h1>Request blocked</h1> Support ID: 4711</html>", "a firewall's page"),
    (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", "an HTML page"),
    (401, b"<html>Sign in to the network</html>", "a sign-in page"),
    (403, b"<!doctype html><title>Attention Required! | Cloudflare</title>", "a firewall's page"),
    (403, b"\xef\xbb\xbf <HTML>no</HTML>", "an HTML page"),
    (404, b"<html>404 page not found</html>", "an HTML page"),
    (405, b"<html>", "an HTML page"),
    (407, b"", "a proxy's demand to sign in"),
    (410, b"<?xml version='1.0'?><Error/>", "an HTML page"),
    (413, b"<html>Request Entity Too Large</html>", "an HTML page"),
    (422, b"<html>", "an HTML page"),
    (451, b"<html>", "an HTML page"),
    (500, b"<html>oops</html>", "an HTML page"),
    (502, b"<html>Bad Gateway</html>", "an HTML page"),
]
OTHER_SHAPES: list[tuple[int, bytes, str]] = [
    (400, b"", "an empty answer"),
    (400, b"{}", "JSON of another shape"),
    (400, b'{"Message": "Bad Request"}', "JSON of another shape"),
    (400, b'{"Errors": [{"Property": "PONumber", "Er', "JSON of another shape"),
    (400, b'{"Errors": []}', "JSON of another shape"),
    (400, b'{"success": false, "errors": [{"code": 1020, "message": "Access denied"}]}', "JSON of another shape"),
    (400, '{"Errors": [{"Errors": ["no"]}]}'.encode("utf-16"), "a text"),
    (400, b"upstream connect error", "a text"),
    (403, b"[1]", "JSON of another shape"),
    (404, b"", "an empty answer"),
    (404, b'{"message": "no Route matched with those values"}', "JSON of another shape"),
    (405, b"", "an empty answer"),
    (411, b"{}", "JSON of another shape"),
    (413, b"", "an empty answer"),
    (415, b'{"Errors": [{"Property": "x", "Errors": ["no"]}]}', "JSON of another shape"),
    (418, b"{}", "JSON of another shape"),
    (422, b'{"detail": "Unprocessable"}', "JSON of another shape"),
    (429, b"<html>Too many requests</html>", ""),
    (599, b"no", "a text"),
]


@pytest.mark.parametrize(("status", "body", "what"), [case for case in FOREIGN if case[0] != 429])
def test_a_page_in_place_of_the_providers_answer_decides_nothing_and_is_named(
    status: int, body: bytes, what: str
) -> None:
    page = httpx.Response(status, content=body, headers=NGINX | {"Location": "https://x.example/?token=abc"})
    for work in (place, look, lambda client: client.orders(page=2)):
        error = failure(World(page), work)
        assert type(error) is NotTheProvider
        assert error.status == status
        assert str(error) == (
            f"{what} came instead of the provider's answer"
            f" (status {status}, Server: nginx/1.25.3, Via: 1.1 proxy.example.com)"
        )


@pytest.mark.parametrize(("status", "body", "what"), [case for case in OTHER_SHAPES if case[0] != 429])
def test_a_refusal_in_no_documented_shape_is_none(status: int, body: bytes, what: str) -> None:
    error = failure(World(httpx.Response(status, content=body)), place)
    assert type(error) is NotTheProvider
    assert str(error) == f"{what} came instead of the provider's answer (status {status})"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"Errors": [{"Property": "PONumber", "Errors": ["no"]}]}, RequestRejected),
        (400, {"errors": [{"errors": ["no"]}]}, RequestRejected),
        (400, {"errors": {"poNumber": ["no"]}}, RequestRejected),
        (413, {"Errors": [{"Property": "LineItems", "Errors": ["too many"]}]}, RequestRejected),
        (422, {"Errors": [{"Property": "LineItems", "Errors": ["no"]}]}, RequestRejected),
        (422, {"availableBalance": "3"}, InsufficientFunds),
        (409, None, DuplicateOrder),
        (403, None, AccessDisabled),
        (403, {"Message": "disabled", "Code": 403}, AccessDisabled),
    ],
)
def test_a_refusal_in_the_providers_shape_is_one_whatever_its_headers_say(
    status: int, body: Any, expected: type[ProviderError]
) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    answer = httpx.Response(status, content=content, headers={"Server": "nginx", "Content-Type": "text/plain"})
    assert type(failure(World(answer), place)) is expected


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"Message": "no"}'])
def test_where_no_body_is_documented_none_and_any_object_may_be_the_providers(status: int, body: bytes) -> None:
    kinds = {401: CredentialsRefused, 403: AccessDisabled, 404: NotFound}
    assert type(failure(World(httpx.Response(status, content=body)), look)) is kinds[status]


def test_who_answered_is_told_in_plain_letters_and_without_our_secrets() -> None:
    headers = {"Server": f"a<b>{SECRET}\"'{'x' * 100}", "Content-Type": "text/html"}
    told = str(failure(World(httpx.Response(403, content=b"<html>", headers=headers)), place))
    assert "Server: a b" in told
    assert SECRET not in told
    assert len(told) < 200


def test_a_page_with_a_2xx_is_named_for_a_look_and_leaves_a_post_unknown() -> None:
    page = httpx.Response(200, content=b"<html>captive portal</html>", headers={"Server": "hotspot"})
    words = "a sign-in page came instead of the provider's answer (status 200, Server: hotspot)"
    seen = failure(World(page), look)
    assert (type(seen), str(seen)) == (UnreadableAnswer, words)
    sent = failure(World(page), place)
    assert (type(sent), str(sent)) == (OutcomeUnknown, f"the answer to the order cannot be read: {words}")


def test_a_page_that_refuses_the_token_has_it_renewed_once() -> None:
    answers = iter([httpx.Response(401, content=b"<html>"), httpx.Response(200, json=ORDER)])
    world = World(lambda _: next(answers))
    world.tokens = [token("first"), token("second")]
    assert world.run(look).order is not None
    assert world.paths().count("/v1/Tokens") == 2


@pytest.mark.parametrize("renewed", [True, False])
def test_an_order_that_a_page_refuses_the_token_for_is_not_sent_twice_by_one_attempt(renewed: bool) -> None:
    world = World(httpx.Response(401, content=b"<html>"))
    world.tokens = [token("first"), token("second") if renewed else httpx.ConnectError("x")]
    assert type(failure(world, place)) is NotTheProvider
    assert world.paths() == ["/v1/Tokens", "/v1/Orders", "/v1/Tokens"]


@pytest.mark.parametrize(("status", "asked", "waits"), [(429, "3000", 300), (503, "3000", 300), (503, "20", 20)])
def test_a_page_that_asks_to_wait_is_obeyed_within_reason(status: int, asked: str, waits: float) -> None:
    page = httpx.Response(status, content=b"<html>wait</html>", headers={"Retry-After": asked, "Server": "nginx"})
    error = failure(World(page), place)
    assert isinstance(error, Throttled)
    assert (error.by_other, error.retry_after.total_seconds()) == (True, waits)
    assert str(error) == f"an HTML page came instead of the provider's answer (status {status}, Server: nginx)"


@pytest.mark.parametrize("body", [{"data": None, "errors": ["x"]}, {"Data": {"Id": 1}}, {"Items": []}, [], None])
def test_what_is_no_list_proves_nothing(body: Any) -> None:
    answer = httpx.Response(200, content=json.dumps(body).encode())
    assert type(failure(World(answer), lambda client: client.orders(page=1))) is UnreadableAnswer


def test_a_catalogue_is_not_cut_where_a_proxy_answers_for_its_second_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["pageIndex"] == "1":
            return listed(*({"Id": f"C{number}"} for number in range(50)), Page=1, PageSize=50)
        return httpx.Response(404, content=b"<html>")

    assert type(failure(World(answer), lambda client: client.carriers())) is NotTheProvider


def test_a_refusal_stands_though_its_body_breaks_off() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b'{"PONumber"'
        raise httpx.ReadError("x")

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(409, content=broken())

    assert type(failure(World(answer), place)) is DuplicateOrder


def test_a_duplicate_names_its_orders_and_short_funds_their_amounts() -> None:
    duplicate = failure(World(httpx.Response(409, json={"PreviousOrderIds": ["BLK-1"]})), place)
    assert isinstance(duplicate, DuplicateOrder)
    assert duplicate.ids == ("BLK-1",)
    short = failure(World(httpx.Response(422, json={"AvailableBalance": "10.5", "OrderCost": 12})), place)
    assert isinstance(short, InsufficientFunds)
    assert (short.available, short.cost) == (1050, 1200)


def test_a_rejection_carries_the_providers_problems() -> None:
    body = {"Errors": [{"Property": "LineItems[0].Value", "Errors": [f"no such value, {TOKEN}"]}]}
    error = failure(World(httpx.Response(400, json=body)), place)
    assert isinstance(error, RequestRejected)
    assert [str(problem) for problem in error.problems] == ["LineItems[0].Value: no such value, ***"]


def test_a_rejection_repeats_no_name_of_a_recipient_in_whatever_words() -> None:
    address = {"Name": "Ada Example", "AddressLine1": "1 Example Street", "State": "IL", "ShippingMethodId": "STANDARD"}
    document = REQUEST | {"LineItems": [{"ProductId": "CVS", "PhysicalDeliveryAddress": address}]}
    said = "ADA EXAMPLE of 1 Example Street will not do, still less by STANDARD"
    world = World(httpx.Response(400, json={"Errors": [{"Property": "Ada Example", "Errors": [said]}]}))
    error = failure(world, lambda client: client.place(document))
    assert isinstance(error, RequestRejected)
    assert [str(problem) for problem in error.problems] == ["A***: A*** of 1*** will not do, still less by STANDARD"]
    assert "xample" not in str(world.records)


@pytest.mark.parametrize("secret", ["Ada Example", TOKEN])
@pytest.mark.parametrize("cut", [300, 500, 4000])
def test_nothing_that_is_to_be_masked_is_cut_in_two_before_it_is(secret: str, cut: int) -> None:
    line = {"ProductId": "CVS", "PhysicalDeliveryAddress": {"Name": "Ada Example"}}
    for before in range(cut - len(secret) - 1, cut + 1, 3):
        said = f"{'x' * before} {secret} and more"
        body = {"Message": said, "Errors": [{"Property": said, "Errors": [said]}], said: 1}
        world = World(httpx.Response(400, json=body))
        error = failure(world, lambda client: client.place(REQUEST | {"LineItems": [line]}))
        assert isinstance(error, RequestRejected)
        told = [*(record.answer or "" for record in world.records), *map(str, error.problems)]
        assert not any(secret[:3] in text for text in told), before


# Tokens


def test_one_token_serves_all_calls_and_concurrent_first_calls_fetch_it_once() -> None:
    world = World(httpx.Response(200, json=ORDER))

    async def many(client: Client) -> None:
        await asyncio.gather(*(client.order("BLK-1") for _ in range(30)))
        await client.order("BLK-1")

    world.run(many)
    assert world.paths().count("/v1/Tokens") == 1


@pytest.mark.parametrize(("told", "lives"), [(3600, 3540), (100, 90), (0, 270), (-1, 270), (None, 270), ("x", 270)])
def test_a_token_is_renewed_a_little_before_it_ends(told: Any, lives: float) -> None:
    world = World(httpx.Response(200, json=ORDER))
    world.tokens = [httpx.Response(200, json={"Value": TOKEN, "ExpiresIn": told})]

    async def calls(client: Client) -> list[int]:
        seen = []
        for pass_by in (0, lives - 2, 4):
            world.seconds += pass_by
            await client.order("BLK-1")
            seen.append(world.paths().count("/v1/Tokens"))
        return seen

    assert world.run(calls) == [1, 1, 2]


def refusing(*good: str) -> Handler:
    def answer(request: httpx.Request) -> httpx.Response:
        fine = request.headers["Authorization"].removeprefix("Bearer ") in good
        return (
            (created() if request.method == "POST" else httpx.Response(200, json=ORDER))
            if fine
            else httpx.Response(401)
        )

    return answer


def token(value: str) -> httpx.Response:
    return httpx.Response(200, json={"Value": value, "ExpiresIn": 3600})


@pytest.mark.parametrize("work", [place, look])
def test_after_a_401_the_token_is_renewed_once_and_the_call_repeated(work: Callable[[Client], Awaitable[Any]]) -> None:
    world = World(refusing("second"))
    world.tokens = [token("first"), token("second")]
    assert world.run(work).order.snapshot.provider_id == "BLK-1"
    assert [path == "/v1/Tokens" for path in world.paths()] == [True, False, True, False]


def test_a_second_401_means_the_credentials_are_refused() -> None:
    world = World(refusing())
    assert type(failure(world, place)) is CredentialsRefused
    assert len(world.requests) == 4


def test_concurrent_401s_cause_one_renewal() -> None:
    world = World(refusing("second"))
    world.tokens = [token("first"), token("second")]
    world.run(lambda client: asyncio.gather(*(client.order("BLK-1") for _ in range(15))))
    assert world.paths().count("/v1/Tokens") == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(401), CredentialsRefused),
        (httpx.Response(400), NotSent),
        (httpx.Response(400, json={"Errors": [{"Property": "Email", "Errors": ["no"]}]}), CredentialsRefused),
        (httpx.Response(403), AccessDisabled),
        (httpx.Response(403, content=b"<html>"), NotSent),
        (httpx.Response(401, content=b"<html>"), NotSent),
        (httpx.Response(404), NotSent),
        (httpx.Response(302), NotSent),
        (httpx.Response(500), NotSent),
        (httpx.Response(200, content=b"<html>"), NotSent),
        (httpx.Response(200, json={"Value": "bad\r\nheader"}), NotSent),
        (httpx.ConnectError("x"), NotSent),
        (httpx.ReadTimeout("x"), NotSent),
        (httpx.Response(503), Throttled),
    ],
)
def test_without_a_token_nothing_was_sent(answer: Any, expected: type[ProviderError]) -> None:
    world = World(created())
    world.tokens = [answer]
    error = failure(world, place)
    assert type(error) is expected
    assert set(world.paths()) == {"/v1/Tokens"}
    if isinstance(error, Throttled):
        assert error.status == 429


def test_a_caller_that_leaves_does_not_take_the_renewal_along() -> None:
    async def leave(client: Client) -> Any:
        first = asyncio.create_task(client.balance())
        second = asyncio.create_task(client.order("BLK-1"))
        await asyncio.sleep(0)
        first.cancel()
        return (await asyncio.gather(first, second, return_exceptions=True))[1]

    assert World(httpx.Response(200, json=ORDER)).run(leave).order is not None


def test_a_renewal_that_fails_fails_for_all_who_wait_for_it_and_is_tried_again_by_the_next() -> None:
    world = World(httpx.Response(200, json=ORDER))
    world.tokens = [httpx.Response(500), token("second")]

    async def calls(client: Client) -> tuple[list[Any], Any]:
        answers = await asyncio.gather(*(client.order("BLK-1") for _ in range(15)), return_exceptions=True)
        return answers, await client.order("BLK-1")

    failures, answer = world.run(calls)
    assert [type(error) for error in failures] == [NotSent] * 15
    assert answer.order is not None
    assert world.paths() == ["/v1/Tokens", "/v1/Tokens", "/v1/Orders/BLK-1"]


def test_a_request_that_waits_for_its_slot_leaves_with_the_token_renewed_meanwhile() -> None:
    world = World(httpx.Response(200, json=ORDER))

    async def leave(client: Client) -> None:
        await client.order("BLK-1")
        reached, is_open = asyncio.Event(), asyncio.Event()

        @contextlib.asynccontextmanager
        async def gate() -> AsyncIterator[float]:
            reached.set()
            await is_open.wait()
            yield world.seconds

        client._limiter.slot = gate  # type: ignore[method-assign]
        waiting = asyncio.create_task(client.order("BLK-1"))
        await reached.wait()
        client._tokens.token = Token("renewed", START + timedelta(hours=1))
        is_open.set()
        await waiting

    world.run(leave)
    assert world.requests[-1].headers["Authorization"] == "Bearer renewed"


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "\u00e9@example.com"])
def test_credentials_that_fit_no_header_are_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ApiAccount("https://provider.example", bad, SECRET)
    assert str(caught.value).startswith("TRACKING_API_EMAIL: cannot")


# The rate limit


def most_in_a_second(starts: list[float]) -> int:
    return max(sum(1 for other in starts if start <= other <= start + 1) for start in starts)


@pytest.mark.parametrize(("rate", "calls"), [(5, 60), (2.5, 20), (20, 100)])
def test_no_second_sees_more_calls_than_the_rate_token_calls_included(rate: float, calls: int) -> None:
    world = World(httpx.Response(200, json=ORDER), rate=rate)
    world.run(lambda client: asyncio.gather(*(client.order("BLK-1") for _ in range(calls))))
    assert len(world.starts) == calls + 1
    assert most_in_a_second(world.starts) <= rate
    assert world.starts[-1] - world.starts[0] <= calls / int(rate) * 1.02 + 1


def test_a_rate_below_one_spaces_the_calls() -> None:
    world = World(httpx.Response(200, json=ORDER), rate=0.1)
    world.run(lambda client: asyncio.gather(client.order("BLK-1"), client.order("BLK-1")))
    assert [round(later - earlier) for earlier, later in zip(world.starts, world.starts[1:], strict=False)] == [10, 10]


def test_no_more_than_twenty_calls_are_in_flight() -> None:
    flying = most = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        for _ in range(5):
            await asyncio.sleep(0)
        flying -= 1
        return httpx.Response(200, json=ORDER)

    World(answer).run(lambda client: asyncio.gather(*(client.order("BLK-1") for _ in range(60))))
    assert most == 20


def test_a_call_with_more_than_half_a_minute_before_it_is_throttled_at_once() -> None:
    world = World(httpx.Response(200, json=ORDER), rate=1)

    async def crowd(client: Client) -> list[Any]:
        await client.order("BLK-1")
        return await asyncio.gather(*(client.order("BLK-1") for _ in range(50)), return_exceptions=True)

    answers = world.run(crowd)
    refused = [answer for answer in answers if isinstance(answer, Throttled)]
    assert 15 <= len(refused) <= 25
    assert all(error.status == 429 and error.retry_after > timedelta(seconds=30) for error in refused)
    assert len(world.requests) == len(world.records) == 2 + 50 - len(refused)


def test_waiting_for_a_slot_does_not_count_against_the_timeout() -> None:
    world = World(httpx.Response(200, json=ORDER), rate=1, timeout=0.05)
    world.real_wait = 0.1
    answers = world.run(lambda client: asyncio.gather(*(client.order("BLK-1") for _ in range(3))))
    assert [answer.order is not None for answer in answers] == [True] * 3
    assert max(record.milliseconds for record in world.records) < 50


def test_a_call_cancelled_while_it_waits_for_its_slot_is_not_recorded_and_frees_its_place() -> None:
    world = World(httpx.Response(200, json=ORDER), rate=1)

    async def calls(client: Client) -> int:
        await client.order("BLK-1")
        world.real_wait = 60
        waiting = [asyncio.create_task(client.order("BLK-1")) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        world.seconds += 2
        return client.available()

    assert world.run(calls) == 1
    assert [record.outcome for record in world.records] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        (format_datetime(START + timedelta(seconds=90)), 90),
        (format_datetime(START - timedelta(days=1)), 1),
        ("3600", 3600),
        ("3601", 5),
        ("9" * 5000, 5),
        (format_datetime(START + timedelta(hours=1)), 3600),
        (format_datetime(START + timedelta(hours=1, seconds=1)), 5),
        (format_datetime(START + timedelta(days=900)), 5),
        ("-5", 5),
        ("soon", 5),
        ("", 5),
        (None, 5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_in_every_form_up_to_an_hour_and_else_taken_for_missing(
    told: str | None, seconds: int, status: int
) -> None:
    headers = {} if told is None else {"Retry-After": told}
    error = failure(World(httpx.Response(status, headers=headers)), place)
    assert isinstance(error, Throttled)
    assert error.status == status
    assert abs(error.retry_after.total_seconds() - seconds) < 1


def test_while_the_provider_asks_to_wait_calls_wait_or_are_throttled() -> None:
    replies = [httpx.Response(429, headers={"Retry-After": "20"}), httpx.Response(200, json=ORDER)]
    world = World(lambda _: replies.pop(0) if len(replies) > 1 else httpx.Response(200, json=ORDER))

    async def calls(client: Client) -> dict[str, Any]:
        with pytest.raises(Throttled):
            await client.order("BLK-1")
        assert client.status()["paused_until"] == "2026-01-02T03:04:25Z"
        await client.order("BLK-1")
        replies[:] = [httpx.Response(503, headers={"Retry-After": "600"}), httpx.Response(200)]
        for why in ("the provider asks to wait", "API calls are paused"):
            with pytest.raises(Throttled, match=why):
                await client.order("BLK-1")
        return client.status()

    status = world.run(calls)
    assert world.starts[2] - world.starts[1] >= 20
    assert len(world.requests) == 4
    assert status["last_error"] == "Throttled: the provider asks to wait (503)"


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "315360000"}])
def test_pauses_without_a_usable_retry_after_double_up_to_five_minutes_and_shrink_when_all_is_well(
    headers: dict[str, str],
) -> None:
    replies = [httpx.Response(503, headers=headers)] * 8 + [httpx.Response(200, json=ORDER), httpx.Response(503)]
    world = World(lambda _: replies.pop(0))

    async def calls(client: Client) -> list[float]:
        waits: list[float] = []
        while replies:
            try:
                await client.order("BLK-1")
            except Throttled as exc:
                waits.append(round(exc.retry_after.total_seconds()))
                world.seconds += waits[-1]
        return waits

    assert world.run(calls) == [5, 10, 20, 40, 80, 160, 300, 300, 5]


def test_calls_that_fail_together_lengthen_the_pause_once() -> None:
    together = asyncio.Barrier(10)

    async def answer(_: httpx.Request) -> httpx.Response:
        await together.wait()
        return httpx.Response(503)

    async def calls(client: Client) -> list[Any]:
        return await asyncio.gather(*(client.order("BLK-1") for _ in range(10)), return_exceptions=True)

    waits = [error.retry_after.total_seconds() for error in World(answer).run(calls)]
    assert waits == [5] * 10


# Lists


def test_the_catalogue_is_read_page_by_page_each_product_once() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page, size = int(request.url.params["pageIndex"]), int(request.url.params["pageSize"])
        numbers = list(range(1200))[max(0, (page - 1) * size - 3) : page * size]
        return listed(*({"Id": f"P{number}"} for number in numbers[-size:]))

    world = World(answer)
    products = world.run(lambda client: client.products())
    assert len({product["id"] for product in products}) == len(products) >= 1199
    assert {request.url.params["pageSize"] for request in world.requests[1:]} == {"500"}


@pytest.mark.parametrize("last", [listed(), httpx.Response(404), listed({"Id": "C0"})])
def test_a_list_ends_with_an_empty_page_a_404_or_a_page_that_repeats(last: httpx.Response) -> None:
    first = listed(*({"Id": f"C{number}"} for number in range(50)), Page=1, PageSize=50)
    world = World(lambda request: first if request.url.params["pageIndex"] == "1" else last)
    assert len(world.run(lambda client: client.carriers())) == 50
    assert len(world.requests) == 3


def test_a_list_that_never_ends_is_cut_at_a_thousand_pages() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = request.url.params["pageIndex"]
        return listed({"Id": f"M{page}"}, PageSize=1)

    world = World(answer)
    assert len(world.run(lambda client: client.shipping_methods())) == 1000


def test_what_the_provider_does_not_offer_is_none_or_empty_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: Client) -> tuple[Any, Any, Any]:
        return await client.balance(), await client.carriers(), await client.shipping_methods()

    with caplog.at_level(logging.INFO, "tracking"):
        assert World(httpx.Response(404)).run(ask) == (None, [], [])
    assert caplog.records == [] or all(not record.name.startswith("tracking.provider") for record in caplog.records)


def test_the_balance_is_in_minor_units() -> None:
    answer = World(httpx.Response(200, json={"Pending": 1, "Available": "12.50"})).run(lambda client: client.balance())
    assert answer == {"available_minor": 1250, "pending_minor": 100, "offered": True}


def test_a_page_of_orders_drops_repeats_and_leaves_out_what_it_cannot_read() -> None:
    world = World(listed(ORDER, ORDER, {"Id": "broken"}, ORDER | {"Id": "BLK-2"}))
    page = world.run(lambda client: client.orders(page=1, start=START, end=START, po_number="demo 1&x=2"))
    assert [shown.snapshot.provider_id for shown in page.orders] == ["BLK-1", "BLK-2"]
    assert (page.unreadable, page.last) == (1, True)
    assert dict(world.requests[-1].url.params) == {
        "pageIndex": "1",
        "pageSize": "50",
        "startDate": "2026-01-02T03:04:05Z",
        "endDate": "2026-01-02T03:04:05Z",
        "poNumber": "demo 1&x=2",
    }


@pytest.mark.parametrize(("told", "last"), [({}, True), ({"PageSize": 1}, False), ({"PageSize": 0}, True)])
def test_a_page_is_last_when_it_is_shorter_than_the_provider_serves(told: dict[str, int], last: bool) -> None:
    assert World(listed(ORDER, **told)).run(lambda client: client.orders(page=1)).last is last


def test_a_page_past_the_end_is_empty_whatever_the_provider_says() -> None:
    page = World(httpx.Response(404)).run(lambda client: client.orders(page=2))
    assert (page.orders, page.last) == ((), True)
    with pytest.raises(NotFound):
        World(httpx.Response(404)).run(lambda client: client.orders(page=1))


# Records and status


def test_every_call_is_recorded_with_masked_bodies() -> None:
    world = World(created())
    world.run(place)
    token_call, post = world.records
    assert (token_call.path, token_call.outcome, token_call.request, token_call.answer) == (
        "/v1/Tokens",
        "ok",
        None,
        None,
    )
    assert (post.method, post.path, post.status, post.outcome) == ("POST", "/v1/Orders", 201, "ok")
    assert (post.order_po, post.provider_id) == ("demo-1", "BLK-1")
    assert post.request is not None
    assert "c***@example.com" in post.request
    assert post.answer is not None
    assert "BLK-1" in post.answer


def test_each_attempt_has_a_record_of_its_own() -> None:
    world = World(refusing("second"))
    world.tokens = [token("first"), token("second")]
    world.run(place)
    attempts = [(record.path, record.status, record.outcome) for record in world.records]
    assert attempts == [
        ("/v1/Tokens", 200, "ok"),
        ("/v1/Orders", 401, "credentials refused"),
        ("/v1/Tokens", 200, "ok"),
        ("/v1/Orders", 201, "ok"),
    ]


def test_a_call_cancelled_in_flight_is_recorded_as_cancelled() -> None:
    left = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        left.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody waits any more")

    async def leave(client: Client) -> None:
        call = asyncio.create_task(client.place(REQUEST))
        await left.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    world = World(answer)
    world.run(leave)
    cancelled = world.records[-1]
    assert (cancelled.path, cancelled.status, cancelled.outcome) == ("/v1/Orders", None, "cancelled")
    assert cancelled.order_po == "demo-1"
    assert "c***@example.com" in (cancelled.request or "")


def test_an_answer_that_breaks_off_is_recorded_with_its_status() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        raise httpx.ReadError("x")

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=broken())

    world = World(answer)
    error = failure(world, place)
    assert (type(error), error.status) == (OutcomeUnknown, 200)
    assert (world.records[-1].status, world.records[-1].outcome) == (200, "unknown")


def test_the_record_of_a_large_order_is_cut() -> None:
    lines = [ORDER["LineItems"][0] | {"Theme": "x" * 400} for _ in range(100)]
    world = World(httpx.Response(201, json=ORDER | {"LineItems": lines}))
    world.run(place)
    assert len(world.records[-1].answer or "") == 4000


def test_the_status_tells_how_the_client_fares() -> None:
    replies: list[httpx.Response] = [httpx.Response(500), httpx.Response(500), httpx.Response(404)]
    world = World(lambda _: replies.pop(0), rate=5)

    async def calls(client: Client) -> list[dict[str, Any]]:
        seen = [client.status()]
        for _ in range(3):
            world.seconds += 10
            with pytest.raises(ProviderError):
                await client.order("BLK-1")
            seen.append(client.status())
        return seen

    idle, _, failing, well = world.run(calls)
    assert (idle["token_valid_until"], idle["calls_in_the_last_minute"], idle["rate"]) == (None, 0, 5)
    assert failing["failing_since"] == "2026-01-02T03:04:15Z"
    assert failing["last_error"] == "OutcomeUnknown: the provider failed (500)"
    assert (failing["failures"], well["failures"]) == (2, 0)
    assert (well["failing_since"], well["calls_in_the_last_minute"]) == (None, 4)
    assert json.loads(json.dumps(well)) == well


ECHO = {
    "Message": f"{EMAIL} {SECRET} Bearer {TOKEN} {RECIPIENT} {LINK} https://hooks.example/{HOOK}",
    "Errors": [EMAIL],
}
OUTCOMES: list[Any] = [
    *(httpx.Response(status, json=ORDER | ECHO) for status in (200, 201)),
    *(
        httpx.Response(status, json=ECHO)
        for status in (200, 301, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 504)
    ),
    *(httpx.Response(status, content=json.dumps(ECHO)[:-5].encode()) for status in (200, 400, 500)),
    httpx.ConnectError(f"no route {SECRET}"),
    httpx.ReadTimeout(f"too slow {TOKEN}"),
    httpx.LocalProtocolError(f"Illegal header value {TOKEN}"),
    OSError(f"broken {TOKEN}"),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("work", [place, look])
def test_no_canary_gets_into_errors_records_or_logs(
    outcome: Any, work: Callable[[Client], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(outcome)
    told = [repr(world.client.status())]
    with caplog.at_level(logging.DEBUG):
        try:
            world.run(work)
        except ProviderError as exc:
            told += [str(exc), repr(exc), *(str(problem) for problem in getattr(exc, "problems", ()))]
    told += [json.dumps(asdict(record), default=str) for record in world.records]
    told += [caplog.text, repr(world.client.status()), repr(world.client)]
    assert [canary for canary in CANARIES if any(canary in text for text in told)] == []
    assert len(world.records) == len(world.requests)


def test_settings_name_the_provider_or_the_embedded_sandbox() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"Value": "opaque", "Available": 1})

    embedded = Settings(_env_file=None, api_base_url=None, api_email=None, api_access_token=None)
    outside = Settings(
        _env_file=None,
        api_base_url="https://provider.example/base/v1",
        api_email=EMAIL,
        api_access_token=SecretStr(SECRET),
    )

    async def ask(chosen: Settings) -> None:
        client = Client.from_settings(chosen, transport=httpx.MockTransport(answer), record=lambda _: None)
        await client.balance()
        await client.aclose()

    asyncio.run(ask(embedded))
    asyncio.run(ask(outside))
    assert str(seen[0].url) == "http://sandbox.internal/v1/Tokens"
    assert (seen[0].headers["Email"], seen[0].headers["AccessToken"]) == ("sandbox@example.com", "sandbox")
    assert str(seen[2].url) == "https://provider.example/base/v1/Tokens"
    assert (seen[2].headers["Email"], seen[2].headers["AccessToken"]) == (EMAIL, SECRET)
