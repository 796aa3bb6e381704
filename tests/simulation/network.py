"""What lies between the console and the provider: delays, mishaps of calls, outages, and notices on their way."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from marketplace import START, Placed, Reply
from mishaps import ASKED_TO_WAIT, GET, ODD_NOTICES, OLDER, OLDEST, PAGES, RETRY_AFTER, SPOILT, Weights

if TYPE_CHECKING:
    from adapters import Console
    from world import World

TIMEOUT = 10.0
DECLINES = {"400", "422"}
# What stands in between answers so, without and with a page: none of it is in the provider's documented shape.
PAGE, GATEWAY = b"<html>not the provider</html>", b'{"errors": [{"code": 1020, "message": "denied"}]}'
FOREIGN = (
    *((status, PAGE) for status in (200, 302, 400, 401, 403, 404, 407, 413, 422, 429, 451, 500, 502, 503)),
    *((status, b"") for status in (301, 400, 405, 407, 413, 422)),
    *((status, GATEWAY) for status in (400, 413, 422, 451)),
)
TRIES_OF_A_NOTICE = (2.0, 5.0, 15.0, 60.0, 300.0)


class Refused(Exception):
    """No connection: nothing left."""


class Broken(Exception):
    """The connection broke: nobody knows."""


class Network:
    """Carries calls to the marketplace and notices back."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.outages: list[tuple[float, float, str]] = []
        self.calls = 0

    # Calls

    async def exchange(
        self, console: "Console", method: str, path: str, params: Mapping[str, str], body: bytes, token: str
    ) -> tuple[int, str | None, bytes]:
        """One call from when it leaves: status, Retry-After and body of what comes back."""
        world = self.world
        self.calls += 1
        fine = world.checked(lambda: world.referee.call_leaves(console, method, path, body))
        if not fine or world.dies_at(console, "call before"):
            return await console.loop.create_future()  # type: ignore[no-any-return]  # never: it is dead
        future = console.loop.create_future()
        what = _kind(method, path)
        key = _key(what, path, params, body)
        mishap = self._mishap(what, key)
        if world.telling:
            world.tell(f"{console} calls {method} {path} {key}" + (f": {mishap}" if mishap else ""))
        way = 0.02 + 0.06 * world.chance.draw("way")
        request = (method, path, params, body, token)
        if mishap == "slow placing":
            way = TIMEOUT + 0.5 + 20 * world.chance.draw("slow")
        world.after(way, lambda: self._arrives(console, future, request, mishap))
        if world.dies_at(console, "call after"):
            return await console.loop.create_future()  # type: ignore[no-any-return]  # never: it is dead
        try:
            status, retry_after, answer = await future
        finally:
            world.referee.call_ends(console, method, body)
        world.referee.answer_taken(console, status, retry_after, answer)
        return status, retry_after, answer

    def _mishap(self, what: str, key: str) -> str | None:
        world = self.world
        for start, end, kind in self.outages:
            if start <= world.now < end and (kind != "token" or what == "token"):
                return {"504": "504 before", "token": "500 before"}.get(kind, kind)
        weights: Weights = getattr(world.climate, what)
        return world.chance.mishap(what, key, weights)

    def _arrives(self, console: "Console", future: Any, request: tuple[Any, ...], mishap: str | None) -> None:
        """At the provider: the call is carried out or not, and what comes back is on its way."""
        world = self.world
        _, path, _, body, token = request
        way = 0.02 + 0.06 * world.chance.draw("way back")
        outcome: Reply | Exception
        if mishap is None or mishap in {"504 after", "500 after", "broken after", "slow answer", "slow placing"}:
            outcome = self._honest(request)
            if mishap in {"504 after", "500 after"}:
                outcome = Reply(int(mishap[:3]), b"")
            elif mishap == "broken after":
                outcome = Broken()
            elif mishap in {"slow answer", "slow placing"}:
                way += TIMEOUT + 1 + 30 * world.chance.draw("slow")
        elif mishap == OLDER:
            outcome = self._honest(request, ago=OLDEST * world.chance.draw("older") ** 2)
        elif mishap == "no connection":
            outcome = Refused()
        elif mishap == "broken before":
            outcome = Broken()
        elif mishap.endswith(" before") and mishap[0].isdigit():
            outcome = Reply(int(mishap[:3]), b"<html>sorry</html>")
        elif mishap in ASKED_TO_WAIT:
            outcome = Reply(int(mishap), b"", self._retry_after())
        elif mishap in DECLINES:
            outcome = self._declined(request, mishap)
        elif mishap in {"401", "403", "404"}:
            world.market.tokens.pop(token, None) if mishap == "401" else None
            outcome = Reply(int(mishap), b"")
        else:
            outcome = (
                self._spoilt(self._honest(request), mishap, path)
                if "page" not in mishap
                else self._page(request, mishap)
            )
        world.after(way, lambda: self._comes_back(console, future, outcome, body))

    def _page(self, request: tuple[Any, ...], mishap: str) -> Reply:
        """An answer of something in between, which has passed the call on or not."""
        if mishap.endswith("after"):
            self._honest(request)
        status, body = FOREIGN[int(self.world.chance.draw("page") * len(FOREIGN))]
        if mishap not in PAGES:
            status, body = int(mishap[:3]), PAGE
        return Reply(status, body, self._retry_after() if status in {429, 503} else None, by_other=True)

    def _honest(self, request: tuple[Any, ...], ago: float = 0.0) -> Reply:
        method, path, params, body, token = request
        reply = self.world.market.answer(method, path, params, body, token, self.world.now - ago)
        if reply.status == 409:
            return self._conflict(reply, json.loads(body)["PONumber"])
        return reply

    def _conflict(self, reply: Reply, po_number: str) -> Reply:
        world = self.world
        match world.chance.mishap("conflict", po_number, world.climate.conflict):
            case "409 without an id":
                return Reply(409, b"")
            case "409 with several ids":
                first = world.market.by_po[po_number][0].id
                return Reply(409, json.dumps({"PreviousOrderIds": [first, "BLK-77777"]}).encode())
            case "409 with another id":
                return Reply(409, b'{"PreviousOrderIds": ["BLK-77777"]}')
        return reply

    def _declined(self, request: tuple[Any, ...], mishap: str) -> Reply:
        """400 and 422 are about an order that is not there yet, but for providers that look at the balance first."""
        method, path, _, body, _ = request
        if _kind(method, path) == "token":
            return Reply(400, b"")
        po_number = json.loads(body)["PONumber"]
        world = self.world
        if po_number in world.market.by_po and not world.market.manners.funds_before_duplicates:
            return self._honest(request)
        told = {"AvailableBalance": 1, "OrderCost": 2} if mishap == "422" else {"Errors": [{"Errors": ["no"]}]}
        return Reply(int(mishap), json.dumps(told).encode())

    def _spoilt(self, reply: Reply, mishap: str, path: str) -> Reply:
        if reply.status not in {200, 201}:
            return reply
        body = reply.body
        match mishap:
            case "half of the JSON":
                body = body[: len(body) // 2]
            case "HTML":
                body = b"<html><body>Welcome</body></html>"
            case "NaN":
                body = body.replace(b'"Quantity": 1', b'"Quantity": NaN').replace(b'"quantity": 1', b'"quantity": NaN')
                return reply if body == reply.body else Reply(reply.status, body, proves=self._unaltered(reply.proves))
            case "wrong id" | "another order":
                body = self._renamed(body, reply.status)
            case "foreign contents":
                if not self.world.auditor.knows(unquote(path.rpartition("/")[2])):
                    return reply
                body = body.replace(b'ONumber": "', b'ONumber": "other-', 1).replace(b"Pending", b"Completed")
            case "unreadable item":
                body = body.replace(b'"Data":[', b'"Data":[{"Id": null},', 1)
                return Reply(reply.status, body, proves=reply.proves)
            case "item twice":
                return self._doubled(reply)
            case "expires at once" | "expires before":
                life = "0" if mishap == "expires at once" else "-5"
                return Reply(200, body.replace(b": 3600", b": " + life.encode()).replace(b": 60", b": 0"))
            case _:
                body = mishap.encode()
        return Reply(reply.status, body)

    def _unaltered(self, proves: Sequence[str]) -> tuple[str, ...]:
        """The orders without a quantity that became NaN: one odd item of a list does not take the others' proof."""
        market = self.world.market
        if market.manners.echo == "split":
            return ()
        return tuple(
            number
            for number in proves
            if not any(str(line["Quantity"]).startswith("1") for line in market.orders[number].lines)
        )

    def _renamed(self, body: bytes, status: int) -> bytes:
        """The body with another id, and a POST's with another PONumber."""
        body = body.replace(b'"BLK-', b'"BLK-9', 1)
        if status == 201:
            return body.replace(b'ONumber": "', b'ONumber": "other-', 1)
        return body

    def _doubled(self, reply: Reply) -> Reply:
        told = json.loads(reply.body)
        told["Data"] = told["Data"] * 2
        return Reply(reply.status, json.dumps(told).encode(), proves=reply.proves)

    def _retry_after(self) -> str | None:
        world = self.world
        draw = world.chance.draw("retry after")
        heard = accumulate(weight for _, weight in RETRY_AFTER)
        form = next((name for (name, _), until in zip(RETRY_AFTER, heard, strict=True) if draw < until), "seconds")
        seconds = int(1 + 40 * world.chance.draw("retry after seconds"))
        at: datetime = START + timedelta(seconds=world.now + seconds)
        return {
            "seconds": str(seconds),
            "date": format_datetime(at, usegmt=True),
            "absurd": "315360000",
            "missing": None,
            "an hour": "3600",
            "words": "soon",
        }[form]

    def _comes_back(self, console: "Console", future: Any, outcome: Reply | Exception, body: bytes) -> None:
        world = self.world
        if console.dead or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            return
        world.referee.answer_comes(console, outcome, body)
        if world.dies_at(console, "answer"):
            return
        future.set_result((outcome.status, outcome.retry_after, outcome.body))

    # Notices

    def announce(self, placed: Placed) -> None:
        """Plans the notices of an order that was placed."""
        world = self.world
        if placed.address is None or placed.done_at is None:
            return
        said = f"{(START + timedelta(seconds=placed.done_at)):%m/%d/%Y %I:%M:%S %p}"
        body = {"Action": "FulfillmentComplete", "OrderId": placed.id, "PONumber": placed.po_number, "Timestamp": said}
        at = placed.done_at + 0.05
        times, content = [at], b""
        match world.chance.mishap("notice", placed.po_number, world.climate.notice):
            case "lost":
                return
            case "twice":
                times = [at, at, at + 3]
            case "late":
                times = [at + 300]
            case "early":
                times = [placed.placed_at]
            case "foreign first":
                self._sends(at - 0.02, placed.address, json.dumps(body | {"OrderId": "BLK-88888"}).encode(), 0, None)
            case "named by id alone":
                del body["PONumber"]
            case str(oddity) if oddity in ODD_NOTICES:
                content = _odd_content(body, oddity)
            case "many":
                early = placed.placed_at + 0.3 * (placed.done_at - placed.placed_at)
                apart = min(max((placed.done_at - early) / 20, 0.15), 1.2)
                for number in range(20):
                    early_one = json.dumps(body | {"Timestamp": f"{said} {number}"}).encode()
                    self._sends(early + apart * number, placed.address, early_one, 9, placed.po_number)
        for time in times:
            self._sends(time, placed.address, content or json.dumps(body).encode(), 0, placed.po_number)

    def _sends(self, at: float, address: str, body: bytes, tries: int, genuine: str | None) -> None:
        """Sends a notice; `genuine` is the PONumber of its address, where nothing in the body contradicts that."""

        def arrives() -> None:
            taken = self.world.deliver(address.rpartition("/")[2], body, again, genuine)
            if not taken:
                again()

        def again() -> None:
            if tries < len(TRIES_OF_A_NOTICE):
                self._sends(self.world.now + TRIES_OF_A_NOTICE[tries], address, body, tries + 1, genuine)

        self.world.at(at, arrives)


def _odd_content(body: Mapping[str, Any], oddity: str) -> bytes:
    """The body of a notice as no documentation says; one without contents is a space, which nobody can read either."""
    if oddity == "no body":
        return b" "
    if oddity == "odd encoding":
        return json.dumps(body).encode("utf-16")
    odd = {"Timestamp": {"Seconds": 1764426000}, "Action": ["FulfillmentComplete"], "OrderId": None}
    return json.dumps({**body, **odd}).encode()


def _kind(method: str, path: str) -> str:
    if path == "/v1/Tokens":
        return "token"
    if method == "POST":
        return "post"
    return "list" if path == "/v1/Orders" else "get"


def _key(what: str, path: str, params: Mapping[str, str], body: bytes) -> str:
    if what == "post":
        return str(json.loads(body)["PONumber"])
    if what == "list":
        return params.get("poNumber", "")
    return path.rpartition("/")[2] if what == "get" else ""


assert set(SPOILT) <= set(GET)
