"""Watches the calls: the budget, the waits asked for, what leaves with its intent committed. Raises Violation."""

import json
import zlib
from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from adapters import RATE
from evidence import Violation, contents
from marketplace import EPSILON, START, Reply

if TYPE_CHECKING:
    from adapters import Console
    from world import World

ASKED_A_MINUTE = 40
LONGEST_FOREIGN_WAIT = 300.0
ASKED_BESIDE = 6  # in ten seconds, beyond what the floor allows: by notices, by people, and to adopt


class Referee:
    """Sees each call leave and each answer come."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._calls: dict[int, deque[float]] = {}
        self._asked: dict[tuple[int, str], deque[float]] = {}
        self._paused: dict[int, float] = {}
        self._under_way: dict[str, Console] = {}

    def call_leaves(self, console: "Console", method: str, path: str, body: bytes) -> None:
        """A call leaves a console: within the budget, after every wait asked for, and a POST with its intent."""
        now = self.world.now
        self.world.auditor.digest = zlib.crc32(f"{now:.6f}{method}{path}".encode(), self.world.auditor.digest)
        # All consoles together, those that were killed among them, or each alone.
        # What stands still between its turn and its call comes too late for its turn, whatever the turns of others.
        together = self.world.climate.shares_budget and not any(one.suspended_until for one in self.world.consoles)
        calls = self._calls.setdefault(0 if together else console.number, deque(maxlen=RATE + 1))
        calls.append(now)
        if len(calls) > RATE and now - calls[0] < 1 - EPSILON:
            raise Violation("I8", f"{len(calls)} calls within {now - calls[0]:.3f} s")
        if now < self._paused.get(console.number, 0.0) - EPSILON:
            raise Violation("I8", f"a call leaves {self._paused[console.number] - now:.1f} s too early")
        if method == "GET" and path != "/v1/Orders":
            asked = self._asked.setdefault((console.number, path), deque(maxlen=ASKED_A_MINUTE + 1))
            asked.append(now)
            if len(asked) > ASKED_A_MINUTE and now - asked[0] < 60:
                raise Violation("I8", f"{path} is asked for {len(asked)} times in {now - asked[0]:.1f} s")
            allowed = int(10 / self.world.climate.floor) + ASKED_BESIDE
            if len(asked) > allowed and now - asked[-allowed - 1] < 10:
                raise Violation("I8", f"{path} is asked for {allowed + 1} times in {now - asked[-allowed - 1]:.1f} s")
        elif method == "POST" and path == "/v1/Orders":
            self._post_leaves(console, json.loads(body))

    def _post_leaves(self, console: "Console", document: Mapping[str, Any]) -> None:
        po_number = str(document["PONumber"])
        other = self._under_way.get(po_number)
        # A clock stepped forward ends every lease: then two may send at once, and the PONumber keeps them one order.
        # And one that stood still for longer than its lease does not know yet that it has ended.
        if other is not None and not other.dead and not self.world.skewed and not other.suspended_until:
            raise Violation("I9", f"{po_number} is sent by {console} while {other} waits for an answer to it")
        self._under_way[po_number] = console
        posts = self.world.market.posts[po_number] = self.world.market.posts.get(po_number, 0) + 1
        query = "SELECT attempts FROM orders JOIN outbox ON outbox.order_id = orders.id WHERE po_number = ?"
        found = self.world.file.raw.execute(query, (po_number,)).fetchone()
        intended = self.world.evidence.intended.get(po_number)
        if intended is None:
            raise Violation("I1", f"a POST leaves under {po_number}, which nobody asked for")
        self.world.approvals.check_post(intended)
        if found is None or found[0] < posts:
            raise Violation("I9", f"POST {posts} of {po_number} leaves, committed is {found}")
        if contents(document["LineItems"]) != sorted(intended.lines):
            raise Violation("I1", f"{po_number} is sent with other lines than were asked for")

    def call_ends(self, console: "Console", method: str, body: bytes) -> None:
        """A console waits no more for a call."""
        if method == "POST" and body and not console.dead:
            self._under_way.pop(json.loads(body)["PONumber"], None)

    def answer_comes(self, console: "Console", reply: Reply, body: bytes) -> None:
        """An answer has reached a console that lives."""
        self.world.evidence.proven.update(reply.proves)
        if reply.by_other:
            return
        if reply.status in {400, 413, 422} and body:
            self.world.evidence.declined[json.loads(body)["PONumber"]] = self.world.now
        if reply.status == 401 and body:  # not carried out, and sent again at once with a new token
            self.world.market.posts[json.loads(body)["PONumber"]] -= 1
        if reply.status == 409 and b"BLK-77777" in reply.body:
            self.world.evidence.several_named.add(json.loads(body)["PONumber"])

    def answer_taken(self, console: "Console", status: int, retry_after: str | None, body: bytes) -> None:
        """A console has read that it is asked to wait: from now on none of its calls may leave for so long.

        What is not the provider stops it for five minutes at the most.
        """
        if status in {429, 503} and retry_after is not None:
            wait = self._asked_wait(retry_after)
            if 0 < wait <= 3600:
                wait = min(wait, LONGEST_FOREIGN_WAIT) if body.startswith(b"<html>not") else wait
                until = self.world.now + wait
                self._paused[console.number] = max(self._paused.get(console.number, 0.0), until)
                self.world.longest_pause = max(self.world.longest_pause, wait)

    def _asked_wait(self, retry_after: str) -> float:
        if retry_after.isdigit():
            return float(retry_after)
        if self.world.skewed or "GMT" not in retry_after:
            return 0.0
        return (parsedate_to_datetime(retry_after) - START).total_seconds() - self.world.now
