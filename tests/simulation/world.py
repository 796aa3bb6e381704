"""One history: a seed, its orders, its people, its mishaps, and the console in the middle of it all."""

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapters import (
    PERSON,
    SECRET,
    Console,
    StoreFile,
    act,
    digests_of_notice,
    judge,
    read_request,
    simulated_constants,
    submit,
)
from alarms import ALARM_STEPS, Alarms
from approvals import PEOPLE, Approvals
from auditor import Auditor
from deeds import Deed, Deeds
from evidence import Evidence, Intended, Violation
from handed_in import Imports
from latecomers import Latecomers
from marketplace import Marketplace, Stage
from mishaps import Chance, Step, climate_of, course_of, steps_of, suspended_steps, team_steps
from network import Network
from outbound import HOOK_STEPS, Outbound
from referee import Referee
from retention import Retention
from teamwork import Teamwork, act_alone, alone
from wishes import REFUSED_BODIES, STRANGE_BODIES, lines_of, made_up

from tracking.storage.maintenance import verify
from tracking.webhooks import addresses

TURNS_AT_MOST = 60_000
LONGEST_HISTORY = 4 * 3600.0


@dataclass(slots=True)
class Outcome:
    """What came of a history. `story` is told in plain words where that was asked for."""

    seed: int
    violation: Violation | None
    digest: int
    steps: list[str]
    mishaps: list[str]
    story: list[str] = field(default_factory=list)
    crashes: int = 0
    calls: int = 0
    virtual_seconds: float = 0.0


class World:
    """Owns time, fate and everything outside the console."""

    def __init__(self, file: StoreFile, seed: int, dropped: frozenset[str] = frozenset(), *, telling: bool) -> None:
        self.file, self.telling = file, telling
        self.now, self.skew = 0.0, 0.0
        self.skewed, self.back_steps, self.longest_pause = False, 0.0, 0.0
        self.commits, self.calm_at, self.turns = 0, 0.0, 0
        self.violation: Violation | None = None
        self.story: list[str] = []
        rng = random.Random(seed)
        self.climate = climate_of(rng, seed)
        self.approvals = Approvals(self, seed)
        steps = steps_of(rng)
        steps += self.approvals.steps({step.given["order"]: step.at for step in steps[::-1] if step.what == "submit"})
        submitted = len({step.given["order"] for step in steps if step.what == "submit"})
        steps += (desk := team_steps(random.Random(f"team {seed}"), submitted))
        self._requests = [made_up(rng, number) for number in range(3)]
        self.imports = Imports(self, seed, self._requests[0])
        steps += (filed := self.imports.steps())
        steps += suspended_steps(random.Random(f"suspended {seed}"))
        self.retention = Retention(self, seed)
        steps += self.retention.steps()
        self.outbound = Outbound(self, seed)
        self.latecomers = Latecomers(self, seed)
        steps += self.outbound.steps()
        self.alarms = Alarms(self, seed)
        steps += self.alarms.steps()
        planned = {f"step {number}: {step}": step for number, step in enumerate(steps)}
        self.steps = {name: step for name, step in planned.items() if name not in dropped}
        self.chance = Chance(seed, dropped)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._made = 0
        self.network = Network(self)
        self.market = Marketplace(
            self.climate.manners,
            self._course,
            self.network.announce,
            lambda po_number: self.chance.draw(f"seen {po_number}"),
        )
        self.auditor, self.evidence, self.referee = Auditor(self), Evidence(self), Referee(self)
        self.teamwork, self.deeds = Teamwork(self, busy=bool(desk or filed)), Deeds(self)
        self.consoles: list[Console] = []
        self.gone: list[Console] = []
        self.crashes = 0
        self._traps: dict[str, list[int]] = {}
        self._passed: dict[str, int] = {}
        self._looked_at: tuple[int, ...] = ()
        self._waiting: list[tuple[str, float]] = []

    # Time

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Lets something happen at a time."""
        self._made += 1
        heapq.heappush(self._events, (max(when, self.now), self._made, what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Lets something happen after so many seconds."""
        self.at(self.now + seconds, what)

    def tell(self, text: str) -> None:
        """Writes the history down."""
        if self.telling:
            self.story.append(f"{self.now:9.2f} s  {text}")

    def violated(self, violation: Violation) -> None:
        """Notes the first violation, where raising it would end in the product's own hands."""
        self.violation = self.violation or violation

    def checked(self, check: Callable[[], None]) -> bool:
        """Whether a check made amid the product's own code holds; the violation is noted."""
        try:
            check()
        except Violation as exc:
            self.violated(exc)
            return False
        return True

    # The run

    def run(self) -> Outcome:
        """Lives the history to its end, or to its first violation."""
        self.file.empty(anew=any(step.what == "disk full" for step in self.steps.values()))
        self.approvals.begin()
        self.outbound.begin()
        try:
            with simulated_constants(self.chance.seed):
                self._live()
                self.retention.ended()
                self.auditor.ended()
                self.teamwork.ended()
                self.deeds.ended()
                self.outbound.ended()
                self.latecomers.ended()
                self._verify()
        except Violation as exc:
            self.violated(exc)
        finally:
            for console in self.consoles:
                console.kill()
                console.bury()
        if self.violation is not None:
            self.tell(f"VIOLATION {self.violation}")
        return Outcome(
            self.chance.seed,
            self.violation,
            self.auditor.digest,
            list(self.steps),
            self.chance.happened,
            self.story,
            self.crashes,
            self.network.calls,
            self.now,
        )

    def _live(self) -> None:
        self._start(0)
        last = 0.0
        for step in self.steps.values():
            if step.what.startswith("crash at"):
                self._traps.setdefault(step.what.removeprefix("crash at "), []).append(step.given["number"])
            else:
                self.at(step.at, partial(self._do, step))
                last = max(last, step.at + step.given.get("length", 0.0))
        self.at(last + 10, self._calm)
        while not self._over():
            self._turn()
            if self.violation is not None:
                raise self.violation

    def _turn(self) -> None:
        """The next thing that happens, wherever that is."""
        self.turns += 1
        if self.turns > TURNS_AT_MOST:
            raise Violation("I8", f"{TURNS_AT_MOST} turns and no end: a loop runs hot")
        awake = [one for one in self.consoles if one.suspended_until <= self.now]
        if len(awake) == len(self.consoles) == 1 and awake[0].loop.busy:  # nothing else can come first
            self.consoles[0].loop.step()
            if len(self.gone) < self.crashes:
                self._bury()
            return
        when, chosen = self._events[0][0] if self._events else LONGEST_HISTORY * 10, None
        for console in awake:
            due = console.loop.due_at()
            if due is not None and (due < when or (due == when and chosen is None)):
                when, chosen = due, console
        if chosen is not None and len(awake) > 1 and self.chance.draw("who") < 0.5:
            chosen = next((one for one in awake if one is not chosen and one.loop.due_at() == when), chosen)
        self.now = max(self.now, when)
        if chosen is None:
            if not self._events:
                raise Violation("I5", "nothing is planned any more")
            heapq.heappop(self._events)[2]()
        else:
            chosen.loop.step()
        if len(self.gone) < self.crashes:
            self._bury()

    def _over(self) -> bool:
        """After the mishaps: whether all is settled. What takes too long is a violation."""
        if not self.calm_at or (self._events and self._events[0][0] <= self.now):
            return False
        bound = self._bound()
        seen = self.commits, len(self.market.orders), len(self.evidence.declined), len(self.evidence.several_named)
        if seen != self._looked_at:
            self._looked_at, self._waiting = (
                seen,
                [
                    *self.auditor.waiting(),
                    *self.teamwork.waiting(),
                    *self.outbound.waiting(),
                    *self.latecomers.waiting(),
                    *self.alarms.waiting(),
                ],
            )
        waiting = self._waiting
        for text, since in waiting:
            if self.now > max(since, self.calm_at) + bound:
                raise Violation("I5", f"{text}, {bound:.0f} s after the mishaps stopped")
        return not waiting

    def _bound(self) -> float:
        """How long it may take: a look's wait, an attempt's, a lease, a pause, a step back."""
        waits = self.climate.ceiling + 330 + 130 + 60 + self.climate.discover_every
        return waits + max(self.longest_pause, 300) + min(self.back_steps, 900 + 120)

    def _calm(self) -> None:
        """Nothing goes wrong any more."""
        self.tell("from here on nothing goes wrong any more")
        self.chance.calm = True
        self.calm_at = self.now
        self._traps.clear()
        if not self.consoles:
            self._start(0)
        self.outbound.calm()

    def _verify(self) -> None:
        console = self.consoles[0]
        if differences := verify.verify(console.database):
            raise Violation("I6", differences[0])

    # Processes

    def _start(self, slot: int) -> None:
        if any(console.slot == slot for console in self.consoles):
            return
        planned = self.auditor.due_times()
        console = Console(self, slot, len(self.gone) + len(self.consoles) + 1)
        self.consoles.append(console)
        self.auditor.started(planned)
        self.tell(f"{console} starts")

    def dies_at(self, console: Console, where: str) -> bool:
        """Whether the console is killed here; counts how often it came by."""
        if console.dead:
            return True
        count = self._passed[where] = self._passed.get(where, 0) + 1
        if count in self._traps.get(where, ()):
            self.tell(f"{console} is killed: {where}")
            self._kill(console)
        return console.dead

    def trap(self, where: str, number: int) -> None:
        """Has the console be killed when it comes by there for the `number`-th time from now on."""
        if not self.chance.calm:
            self._traps.setdefault(where, []).append(self._passed.get(where, 0) + number)

    def _kill(self, console: Console) -> None:
        console.kill()
        self.crashes += 1

    def _bury(self) -> None:
        for console in [one for one in self.consoles if one.dead]:
            self.consoles.remove(console)
            self.gone.append(console)
            console.bury()
            self.after(0.1 + 20 * self.chance.draw("restart") ** 2, partial(self._start, console.slot))

    def committed(self, console: Console) -> None:
        """A transaction of a console is over."""
        self.commits += 1
        self.checked(self.auditor.committed)
        self.checked(self.outbound.committed)
        self.checked(self.latecomers.committed)
        self.checked(self.alarms.committed)
        self.checked(lambda: self.deeds.committed(self.teamwork.committed()))
        for one in self.consoles:
            for pace in one.paces:
                pace.plan()

    # Steps

    def _do(self, step: Step) -> None:
        self.tell(str(step))
        given = step.given
        match step.what:
            case "submit" | "submit changed":
                self._submit(given["order"], changed=step.what != "submit")
            case "check" | "resend" | "note" | "acknowledge":
                self._act(step.what, f"T-{given['order']}")
            case "approve" | "decline":
                self._judge(step.what, f"T-{given['order']}", given["who"])
            case "snooze" | "end snooze" | "assign" | "reopen":
                self._act_alone(step.what, given)
            case "import" | "job":
                (self.teamwork.start if step.what == "job" else self.imports.hand_in)(given)
            case "stop job" | "resume job":
                self.teamwork.change(step.what, given["key"])
            case "forged notice" | "notice of nothing":
                self._odd_notice(given["order"], forged=step.what == "forged notice")
            case "taken elsewhere":
                self._taken_elsewhere(given["order"])
            case "crash":
                for console in self.consoles[:1]:
                    self._kill(console)
            case "second console":
                self._start(1)
            case _:
                others = {
                    "suspended": self._suspend,
                    **dict.fromkeys(HOOK_STEPS, self.outbound.do),
                    **dict.fromkeys(ALARM_STEPS, self.alarms.do),
                }
                others.get(step.what, self._fate)(step.what, given)

    def _suspend(self, _: str, given: Mapping[str, Any]) -> None:
        for console in self.consoles[:1]:
            console.suspended_until = self.now + given["length"]
            self.at(console.suspended_until, lambda: None)

    def _fate(self, what: str, given: Mapping[str, Any]) -> None:
        match what:
            case "clock":
                self.skew += given["seconds"]
                self.skewed = True
                self.back_steps += max(-given["seconds"], 0)
                for console in self.consoles:
                    for pace in console.paces:
                        pace.plan()
            case "store locked":
                self._lock(given["length"])
            case "disk full":
                self._fill(given["length"])
            case "outage" | "token outage":
                self.network.outages.append((self.now, self.now + given["length"], given.get("kind", "token")))
            case "order elsewhere":
                number = len(self.market.orders)
                self.market.place(made_up(random.Random(number), 9, f"E-{number}"), self.now, "elsewhere")
            case "token withdrawn":
                self.market.tokens.clear()
            case "flood of refusals":
                for number in range(12):
                    self.after(0.4 * number, lambda: self._stranger(b"{}", "x" * addresses.TOKEN_LENGTH))
            case "remove old":
                self.retention.remove(given)
            case "strange call":
                self._strange(STRANGE_BODIES[given["kind"]], addresses.make_token("T-0", SECRET))

    def _course(self, po_number: str, kind: str) -> tuple[Sequence[Stage], bool]:
        """What becomes of an order; a person is surprised by one that goes back, and looks."""
        stages, rotates = course_of(self.chance, self.climate.courses, po_number, kind)
        if len(stages) > 3 and self.chance.draw("surprised") < 0.5:
            again = (stages[2].after + stages[3].after) / 2
            self.after(again, lambda: self._act("check", po_number))
        return stages, rotates

    def _person(self, what: Callable[..., Any]) -> Any:
        return self.consoles[0].at_once(what) if self.consoles else None

    def _act(self, what: str, po_number: str) -> None:
        self.deeds.do(Deed(what, PERSON), po_number, lambda database, now: act(database, what, po_number, now))

    def _act_alone(self, what: str, given: Mapping[str, Any]) -> None:
        if self.consoles:
            deed = alone(what, given, self.consoles[0].clock())
            self.deeds.do(deed, f"T-{given['order']}", lambda database, now: act_alone(database, what, given, now))

    def _judge(self, what: str, po_number: str, who: str) -> None:
        self.approvals.asked(what, po_number, who)
        deed = Deed(what, PEOPLE[who])
        if self.deeds.do(deed, po_number, lambda database, now: judge(database, what, po_number, deed.by, now)):
            self.approvals.done(what, po_number, who)

    def _submit(self, number: int, *, changed: bool) -> None:
        document = self._requests[number]
        po_number = document["PONumber"]
        intended = self.evidence.intended.get(po_number)
        if changed and not (intended and intended.acknowledged):
            return
        if intended is None:
            intended = self.evidence.intended[po_number] = Intended(po_number, document, lines_of(document))
        if changed:
            other = document["LineItems"][0] | {"Quantity": 7}
            document = document | {"LineItems": [other, *document["LineItems"][1:]]}
        if not self.consoles:
            self.after(2.0, lambda: self._submit(number, changed=changed))
            return
        intended.handed_in = True
        outcome = self._person(lambda database, now: submit(database, read_request(document), now))
        self.tell(f"  {po_number}: {outcome}")
        if outcome == "queued" and changed:
            raise Violation("I1", f"{po_number} was taken twice, with other lines")
        intended.acknowledged = intended.acknowledged or outcome == "queued"
        if outcome is None and not changed:
            self.after(3.0, lambda: self._submit(number, changed=False))

    def _taken_elsewhere(self, number: int) -> None:
        document = self._requests[number]
        if document["PONumber"] not in self.market.by_po:
            others = [document["LineItems"][0] | {"Quantity": 9, "ExternalId": "somebody else's"}]
            self.market.place(document | {"LineItems": others}, self.now, "elsewhere")

    def _lock(self, length: float) -> None:
        if not self.file.locker.in_transaction:
            self.file.locker.execute("BEGIN IMMEDIATE")
            self.after(length, self._unlock)

    def _unlock(self) -> None:
        if self.file.locker.in_transaction:
            self.file.locker.rollback()

    def _fill(self, length: float) -> None:
        self.file.full = True
        for console in self.consoles:
            console.database.kill()
        self.after(length, self._make_room)

    def _make_room(self) -> None:
        self.file.full = False
        for console in self.consoles:
            console.database.kill()

    # Notices

    def deliver(self, token: str, body: bytes, again: Callable[[], None], genuine: str | None) -> bool:
        """The provider's notice reaches a console, or not; `again` is called where it was not taken.

        `genuine` is the PONumber of its address, where its body does not contradict that: nothing turns it away then.
        """
        if not self.consoles:
            return False
        which = int(self.chance.draw("receiver") * len(self.consoles))
        console = self.consoles[which]
        digests = digests_of_notice(body, genuine)
        named = next((one.po_number for one in self.market.orders.values() if one.id.encode() in body), None)
        placed = genuine if genuine in self.market.by_po else named

        def answered(status: int) -> None:
            if self.telling:
                self.tell(f"{console} answers a notice for {placed} with {status}")
            if status == 204:
                self.checked(lambda: self.auditor.notice_answered(digests, placed))
            elif status == 404 and genuine is not None:
                self.checked(lambda: self.auditor.genuine_turned_away(genuine))
            elif status == 503:
                again()

        console.receive(token, body, answered)
        return True

    def _odd_notice(self, number: int, *, forged: bool) -> None:
        """A notice for an order with a wrong secret, or one with its secret of which the provider knows nothing yet."""
        po_number = f"T-{number}"
        self._made += 1
        stamp = f"01/02/2026 03:09:00 AM {self._made}"
        body = f'{{"Action": "FulfillmentComplete", "PONumber": "{po_number}", "Timestamp": "{stamp}"}}'.encode()
        if forged:
            self._stranger(body, addresses.make_token(po_number, "another secret"))
        else:
            self.deliver(addresses.make_token(po_number, SECRET), body, lambda: None, po_number)

    def _strange(self, body: bytes, token: str) -> None:
        """A call of an order's own address with a body of any kind: taken where the address is in use."""
        if self.consoles:
            in_use = self.auditor.is_in_use(token) and body not in REFUSED_BODIES
            check = self.auditor.strange_answered
            self.consoles[0].receive(token, body, lambda status: self.checked(lambda: check(status, in_use=in_use)))

    def _stranger(self, body: bytes, token: str) -> None:
        if not self.consoles:
            return
        digests = digests_of_notice(body, None)
        check = self.auditor.forged_answered
        self.consoles[0].receive(token, body, lambda status: self.checked(lambda: check(status, digests)))
