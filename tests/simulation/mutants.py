"""Faults of design, planted one at a time in the product while it runs: each must be found by the simulation.

A mutant says in one sentence what it gets wrong and changes what the product has in memory, never a file. Each fails at
once where what it changes is not there any more.
"""

import functools
from collections import Counter
from datetime import timedelta
from typing import Any

from planting import Mutant, Plant, both, one_transaction_late, replaced, rewritten
from sqlalchemy import and_, bindparam, insert, or_, select

from tracking import ingest
from tracking.alerting import lifecycle, notifier
from tracking.delivery import deliverer, payloads
from tracking.errors import CallbackRefused
from tracking.forecasting import planner
from tracking.orders import event_chain as chain
from tracking.orders import events, line_matching, model, rules
from tracking.polling import discovery, due_orders, list_pages, poller
from tracking.provider import client, json_fields, responses
from tracking.provider.http import answers
from tracking.provider.rate_limit import RateLimiter
from tracking.provider.scalars import amounts
from tracking.provider.shared_rate_limit import SharedRateLimit
from tracking.provider.webhook_bodies import read_webhook_call
from tracking.storage import counters, inbox, leases, orders, outbox
from tracking.storage.integration import deliveries, late_orders
from tracking.storage.integration.tables import DELIVERIES
from tracking.storage.retention import archiving, removal
from tracking.storage.tables import CALLBACKS, ORDERS, OUTBOX
from tracking.storage.team import approval_rule, audit_log
from tracking.storage.team.tables import JOBS
from tracking.submissions import actions, sender
from tracking.team import approval, job_runner, jobs, work
from tracking.team.imports import handing_in, placing
from tracking.webhooks import address_book, addresses, intake, receiver


def _unrecorded(self: Any, connection: Any, rows: Any) -> list[Any]:
    kept = {each.id: each.order for each in orders.find_orders(connection, [row["order_id"] for row in rows])}
    sent = [row for row in rows if model.can_send(kept[row["order_id"]])]
    return [
        sender.Attempt(row["order_id"], kept[row["order_id"]].po_number, row["attempts"] + 1, dict(row["request"]))
        for row in sent
    ]


async def _hasty(self: Any, attempt: Any, answered: Any, record: Any = sender.Sender._record_attempts) -> None:
    result = await self._post(attempt)
    answered()
    row = {"order_id": attempt.order_id, "request": attempt.document}
    await self._database.run(lambda connection: record(self, connection, [row]))
    await self._database.run(lambda connection: self._record_result(connection, (attempt, result, self._clock()), None))
    self._under_way.discard(attempt.order_id)


async def _not_waited_for(self: Any, callback: Any, size: int) -> None:
    now = self._clock()
    self._database.submit(lambda connection: ingest.receive_webhook(connection, callback, size, now, self._planner))


def _taken(leased_for_ever: bool) -> Plant:
    """Claims that mind another's lease for ever, or never."""

    def due(table: Any, at: Any) -> Any:
        free = table.c.lease_until.is_(None) if leased_for_ever else at.is_not(None)
        return and_(at.is_not(None), at <= bindparam("now"), free)

    free = ORDERS.c.lease_until.is_(None) if leased_for_ever else ORDERS.c.id.is_not(None)
    look = and_(ORDERS.c.id.in_(bindparam("wanted", expanding=True)), free, orders.NOT_POLLED_SINCE)
    attempt = due(OUTBOX, OUTBOX.c.next_attempt_at)
    attempt = and_(OUTBOX.c.done.is_(False), OUTBOX.c.held.is_(False), attempt)
    wanted = [ORDERS.c[name] for name in orders._POLL_COLUMNS]
    sent = (OUTBOX.c.order_id, OUTBOX.c.request, OUTBOX.c.attempts)
    by = (OUTBOX.c.next_attempt_at, OUTBOX.c.order_id)
    return both(
        replaced(orders, "LEASE_POLLS", leases.lease_rows(ORDERS.c.id, look, (ORDERS.c.id,), wanted)),
        replaced(
            due_orders, "_cached_statements", functools.cache(lambda dialect: due_orders._statements(dialect, free))
        ),
        replaced(outbox, "LEASE_SENDS", leases.lease_rows(OUTBOX.c.order_id, attempt, by, sent)),
        replaced(outbox, "ANY_SEND_DUE", select(OUTBOX.c.order_id).where(attempt).limit(1)),
    )


def _read_strictly(
    body: bytes, media: str, coding: str, notes: set[str], document: dict[str, Any], source: str | None
) -> Any:
    call = read_webhook_call(body, media, coding, notes, document, source)
    if notes or call.reason:
        raise CallbackRefused("the body cannot be read", rule="address")
    return call


def _in_floats(value: Any) -> int:
    return int(float(amounts.decimal_of(value)) * 100)


def _kept_for_ever(connection: Any, values: Any, now: Any) -> None:
    connection.execute(insert(CALLBACKS), {**values, "outcome": "refused", "received_at": now, "last_at": now})


def _overtaking() -> Plant:
    due = and_(
        deliveries._OF, DELIVERIES.c.state == "waiting", DELIVERIES.c.next_attempt_at <= bindparam("now"),
        leases.unleased(DELIVERIES),
    )  # fmt: skip
    columns = [DELIVERIES.c[name] for name in deliveries._LEASED_COLUMNS]
    return both(
        replaced(deliveries, "LEASE_DELIVERIES", leases.lease_rows(DELIVERIES.c.id, due, deliveries._BY, columns)),
        replaced(deliveries, "_ANY_DUE", select(DELIVERIES.c.id).where(due).limit(1)),
    )


def _sendable(order: Any) -> bool:
    return order.provider_id is None and order.submission != "elsewhere"


def _late_though_done() -> Plant:
    late = select(*late_orders._COLUMNS).where(ORDERS.c.late_at <= bindparam("now"))
    found = late.where(ORDERS.c.late_at > late_orders._SINCE).order_by(ORDERS.c.late_at).limit(late_orders.AT_ONCE)
    return both(
        replaced(late_orders, "_LATE_OF_THESE", late.where(ORDERS.c.id.in_(late_orders._IDS))),
        replaced(late_orders, "_BECAME_LATE", found),
    )


_whoever_approved = both(replaced(sender, "can_send", _sendable), replaced(model, "can_send", _sendable))


def _sent_though_held() -> Plant:
    due = and_(OUTBOX.c.done.is_(False), OUTBOX.c.next_attempt_at <= bindparam("now"), leases.unleased(OUTBOX))
    sent = (OUTBOX.c.order_id, OUTBOX.c.request, OUTBOX.c.attempts)
    by = (OUTBOX.c.next_attempt_at, OUTBOX.c.order_id)
    return both(
        _whoever_approved,
        replaced(outbox, "LEASE_SENDS", leases.lease_rows(OUTBOX.c.order_id, due, by, sent)),
        replaced(outbox, "ANY_SEND_DUE", select(OUTBOX.c.order_id).where(due).limit(1)),
    )


def _jobs_taken(*, leased_for_ever: bool = False, stopped: bool = False) -> Plant:
    """Jobs that are taken whether they run or were stopped, or never once another has held them."""
    free = or_(JOBS.c.lease_owner.is_(None), JOBS.c.lease_owner == bindparam("owner"))
    state = JOBS.c.state != "finished" if stopped else JOBS.c.state == "running"
    due = and_(state, job_runner._IS_TURN, free if leased_for_ever else job_runner._FREE)
    taken = leases.lease_rows(JOBS.c.id, due, (JOBS.c.next_turn_at, JOBS.c.id), job_runner._COLUMNS)
    return both(
        replaced(job_runner, "ANY_DUE", select(JOBS.c.id).where(due).limit(1)), replaced(job_runner, "LEASE_JOB", taken)
    )


def _no(*_: Any, **__: Any) -> int:
    return 0


def _head_forgotten(lock: Any = audit_log.lock) -> Plant:
    return replaced(audit_log, "lock", lambda *given: {**lock(*given), "head": audit_log.FIRST_HASH})


_Sender, _Poller = sender.Sender, poller.Poller
MUTANTS = (
    Mutant(
        "post-first",
        "The POST leaves before its attempt is committed.",
        both(replaced(_Sender, "send", _hasty), replaced(_Sender, "_record_attempts", _unrecorded)),
    ),
    Mutant(
        "new-number",
        "A retry gets a PONumber of its own.",
        rewritten(
            _Sender,
            "_post",
            (
                "document = attempt.document\n",
                (
                    "again = {'PONumber': f'{attempt.po_number}-{attempt.number}'} if attempt.number > 1 else {}\n    "
                    "document = attempt.document | again\n"
                ),
            ),
        ),
    ),
    Mutant(
        "504-failed",
        "A timeout or a 5xx counts as a refusal.",
        rewritten(
            _Sender,
            "_unclear",
            (
                "_Result(Unclear(reason), started_at, wait_before_resend(attempt.number, self._planner.rng))",
                "_Result(Declined(504, reason), started_at)",
            ),
        ),
    ),
    Mutant(
        "504-unsent",
        "A timeout or a 5xx counts as not sent.",
        rewritten(_Sender, "_unclear", ("_Result(Unclear(reason)", "_Result(Unsent(reason)")),
    ),
    Mutant(
        "409-error",
        "A 409 counts as a refusal.",
        rewritten(
            _Sender,
            "_post",
            (
                "return await self._adopt_duplicate(attempt, exc.ids, started_at)",
                "return _Result(Declined(409, ''), started_at)",
            ),
        ),
    ),
    Mutant(
        "422-accepted",
        "A 422 counts as accepted.",
        rewritten(
            _Sender,
            "_declined",
            (
                "return _Result(Declined(error.status or 400, error.reason), started_at)",
                (
                    "from tracking.orders.model import Snapshot\n"
                    "    with self._database.read() as c:\n"
                    "        lines = orders.lines_of(c, attempt.order_id)\n"
                    "    shown = Snapshot('BLK-0', attempt.po_number, 'Pending', None, started_at, lines)\n"
                    "    return _Result(Answered(shown), started_at)"
                ),
            ),
        ),
    ),
    Mutant(
        "401-fails",
        "A token that is refused fails the order.",
        rewritten(
            _Sender,
            "_failed",
            (
                "return _Result(Unsent(str(error)), started_at, REFUSED_PAUSE, stops=True)",
                "return _Result(Declined(error.status or 401, str(error)), started_at)",
            ),
        ),
    ),
    Mutant(
        "notice-believed",
        "The webhook's word makes an order Completed.",
        rewritten(
            rules,
            "_webhook_reported",
            (
                '"claimed_at": observation.learned_at}',
                '"claimed_at": observation.learned_at, "state": State.COMPLETED}',
            ),
        ),
    ),
    Mutant("no-secret", "A webhook's secret is not checked.", replaced(addresses, "verify_token", lambda *_: True)),
    Mutant(
        "finished-again",
        "A finished order is looked at as if it were open.",
        rewritten(
            rules,
            "_polled",
            (
                "    if model.is_terminal(order.state):\n        return claim_events",
                "    if False:\n        return claim_events",
            ),
        ),
    ),
    Mutant(
        "taken-back",
        "Pending after Completed takes the completion back.",
        rewritten(
            rules,
            "_polled_after_end",
            (
                "return [contradiction_event(order, observation, AttentionReason.CHANGED_AFTER_END, what)]",
                "return [new_event(EventKind.STILL_OPEN, observation, changes={'state': snapshot.status})]",
            ),
        ),
    ),
    Mutant(
        "due-in-memory",
        "When to look again is not written to the store.",
        rewritten(planner, "_plan_poll", ('return {"next_look_at": now + wait,', 'return {"next_look_at": None,')),
    ),
    Mutant(
        "answer-first",
        "A webhook is answered before it is committed.",
        replaced(receiver.Receiver, "_commit", _not_waited_for),
    ),
    Mutant(
        "event-late",
        "An event is written after its order's row.",
        one_transaction_late(
            orders,
            "save_order",
            (
                "write(connection, INSERT_EVENTS, ",
                "later(connection, lambda c, rows: c.execute(INSERT_EVENTS, rows), ",
            ),
        ),
    ),
    Mutant("count-late", "Counters are changed after what they count.", one_transaction_late(orders, "count_event")),
    Mutant(
        "acknowledged-uncounted",
        "An order that was acknowledged is counted as one that still needs a decision.",
        replaced(counters, "needs_decision", lambda attention, acknowledged_at: attention is not None),
    ),
    Mutant(
        "left-when-placed",
        "That an order left a state is counted in the hour in which it was placed.",
        rewritten(counters, "state_movements", ('("left", learned, before, 1)', '("left", born, before, 1)')),
    ),
    Mutant(
        "gives-up",
        "After three attempts nothing is sent any more.",
        rewritten(
            _Sender,
            "_record_result",
            (
                "None if result.retry_after is None else",
                "None if result.retry_after is None or attempt.number > 2 else",
            ),
        ),
    ),
    Mutant(
        "new-word-done",
        "A status nobody knows counts as done.",
        rewritten(
            rules,
            "_polled",
            (
                "    match snapshot.status:\n",
                (
                    "    if snapshot.status not in PROVIDER_STATES:\n"
                    "        import dataclasses\n"
                    "        done = dataclasses.replace(snapshot, status='Completed')\n"
                    "        return [_finished(order, done, observation, line_changes)]\n"
                    "    match snapshot.status:\n"
                ),
            ),
        ),
    ),
    Mutant(
        "404-final",
        "An order that a GET does not find is never asked for again.",
        rewritten(
            _Poller,
            "_postpone",
            (
                '"next_look_at": now + wait',
                '"next_look_at": None if isinstance(error, errors.NotFound) else now + wait',
            ),
        ),
    ),
    Mutant(
        "not-coalesced",
        "Each notice makes its order due at once.",
        replaced(planner, "WEBHOOK_SPACING", timedelta(0)),
    ),
    Mutant(
        "notice-unheard",
        "A notice is kept, and its order is looked at no sooner.",
        replaced(planner, "_plan_after_webhook", lambda *_: {}),
    ),
    Mutant(
        "notice-twice",
        "A repeated notice is not known again.",
        both(
            rewritten(
                ingest,
                "receive_webhook",
                (
                    'asdict(call) | {"outcome": ',
                    'asdict(call) | {"digest": f"{call.digest}-{now.isoformat()}", "outcome": ',
                ),
            ),
            rewritten(
                intake,
                "_row",
                ("values | outcome", 'values | {"digest": f"{one.call.digest}-{now.isoformat()}"} | outcome'),
            ),
        ),
    ),
    Mutant("lease-for-ever", "A lease never ends.", _taken(leased_for_ever=True)),
    Mutant("no-lease", "A lease is ignored.", _taken(leased_for_ever=False)),
    Mutant(
        "cut-off-unsent",
        "An attempt that a crash cut off counts as not sent.",
        both(
            rewritten(_Sender, "recover", ("Unclear(", "Unsent(")),
            rewritten(
                rules,
                "_attempted",
                (
                    '{"state": State.UNKNOWN, "submission": Submission.UNKNOWN}',
                    '{"state": State.SENDING, "submission": Submission.SENDING}',
                ),
            ),
        ),
    ),
    Mutant(
        "adopts-blindly",
        "The order that a 409 names is adopted without comparing its lines.",
        rewritten(rules, "_answered", ("mismatch(order, snapshot, to_post=not observed.adopted)", "None")),
    ),
    Mutant(
        "claims-missing",
        "Completed is believed while claim data is missing.",
        replaced(rules, "missing_proof", lambda *_: None),
    ),
    Mutant(
        "odd-field-blocks",
        "A field that nobody needs makes the whole order unreadable.",
        rewritten(
            client,
            "read_order",
            ("    claims = {", "    if order.notes:\n        raise UnreadableAnswer('an odd field')\n    claims = {"),
        ),
    ),
    Mutant(
        "unproven-unsaid",
        "An order completed at the provider with lines that do not fit asks for nobody.",
        replaced(rules, "completed_there", lambda *_: {}),
    ),
    Mutant(
        "claims-awaited",
        "Claim data that never comes is waited for and not asked for.",
        replaced(events, "CLAIM_DATA_AWAITED", timedelta(days=1)),
    ),
    Mutant(
        "body-decides",
        "A notice whose body cannot be read in full is turned away.",
        replaced(receiver, "read_webhook_call", _read_strictly),
    ),
    Mutant(
        "address-forgotten",
        "Which order an address is for is not written down when it is given out.",
        replaced(address_book, "store_addresses", lambda *_: None),
    ),
    Mutant(
        "refusal-final",
        "A refusal closes an order whose earlier attempt has no known outcome.",
        rewritten(_Sender, "_declined", ("if attempt.number > 1 and (", "if False and (")),
    ),
    Mutant(
        "never-adopted",
        "A notice that came before its order waits for ever.",
        replaced(ingest, "_adopt_waiting", lambda _connection, _id, order, _now, _planner: order),
    ),
    Mutant(
        "hurried",
        "Retry-After is read and not obeyed.",
        rewritten(
            RateLimiter,
            "pause",
            ("self.paused_until = max(self.paused_until, now + seconds)", "self.paused_until = now"),
        ),
    ),
    Mutant("no-budget", "Calls leave as fast as they come.", replaced(RateLimiter, "_wait", lambda _: 0.0)),
    Mutant(
        "each-alone",
        "Each process keeps to the budget, and all together do not.",
        replaced(SharedRateLimit, "_write", lambda *_: None),
    ),
    Mutant("refusals-kept", "Every refusal is kept.", replaced(inbox, "record_refusal", _kept_for_ever)),
    Mutant(
        "answer-is-look",
        "The answer to a POST is remembered as if it had been a look.",
        rewritten(
            ingest,
            "_observe",
            (
                "isinstance(observation.observed, Polled) and not _is_to_be_confirmed(order, observation.observed)",
                "not (isinstance(observation.observed, Polled) and _is_to_be_confirmed(order, observation.observed))",
            ),
        ),
    ),
    Mutant(
        "list-settles",
        "A list that lacks the proof spares the look.",
        both(
            rewritten(
                list_pages,
                "record_list_page",
                ("if finished and is_open(order.state):", "if False:"),
            ),
            rewritten(
                ingest,
                "plan_next_poll",
                ('case Polled(via="list") if order', 'case Polled(via="list") if False and order'),
            ),
        ),
    ),
    Mutant(
        "list-postpones",
        "Each list page puts off the look that would prove what it shows.",
        rewritten(
            ingest, "plan_next_poll", ('case Polled(via="list") if order', 'case Polled(via="list") if False and order')
        ),
    ),
    Mutant(
        "list-proves-open",
        "A list without claim data proves that an order was still open.",
        rewritten(rules, "_still_open", ("(status == State.COMPLETED and (observed", "(False and (observed")),
    ),
    Mutant(
        "stranger-kept",
        "What shows another order is remembered as this one's.",
        rewritten(
            ingest,
            "_observe",
            ("is_same_order(parsed.snapshot, order)", "order.provider_id == parsed.snapshot.provider_id"),
        ),
    ),
    Mutant(
        "at-once-again",
        "An order that was open is due again at once.",
        replaced(planner, "poll_wait", lambda *_: timedelta()),
    ),
    Mutant(
        "float-money",
        "Values go through floating point and are cut.",
        both(
            replaced(json_fields, "minor_of", _in_floats),
            replaced(responses, "minor_of", _in_floats),
        ),
    ),
    Mutant(
        "seq-reused",
        "An event's number is used again.",
        rewritten(chain, "event_rows", ('"seq": seq,', '"seq": max(seq - 1, 1),')),
    ),
    Mutant(
        "an-hour-ahead",
        "What a clock that was set back left in the future stays there.",
        both(
            replaced(orders, "polls_too_far", lambda *_: []),
            replaced(outbox, "reschedule_sends", lambda *_: 0),
        ),
    ),
    Mutant(
        "page-refuses",
        "Any 400, 413 or 422 refuses the order, whoever answered.",
        rewritten(answers, "_error", ("case 400 | 413 | 422 if names_problems(raw):", "case 400 | 413 | 422:")),
    ),
    Mutant(
        "other-status-refuses",
        "An answer in no documented shape refuses the order.",
        rewritten(
            answers,
            "_error",
            (
                "return errors.NotTheProvider(_whose(call, body, masker), status=status)",
                "return errors.RequestRejected('no', status=status, problems=[])",
            ),
        ),
    ),
    Mutant(
        "page-unsent",
        "An order that something in between answered counts as not sent.",
        rewritten(
            _Sender,
            "_failed",
            (
                "unclear = self._unclear(attempt, str(error), started_at)",
                "unclear = _Result(Unsent(str(error)), started_at, timedelta(seconds=1))",
            ),
        ),
    ),
    Mutant(
        "page-bids-wait",
        "An order that a page asked to wait for counts as not sent.",
        rewritten(_Sender, "_failed", ("error.status == 429 and not error.by_other", "error.status == 429")),
    ),
    Mutant(
        "echo-byte-for-byte",
        "Lines that are echoed otherwise are another order's.",
        replaced(
            line_matching,
            "_multiset",
            lambda lines: sum(
                (Counter({(each.product_id, each.value_minor, each.external_id): each.quantity}) for each in lines),
                Counter(),
            ),
        ),
    ),
    Mutant(
        "ids-with-case",
        "Ids that differ in case alone are two.",
        both(
            *(replaced(owner, "same_id", lambda one, other: one == other) for owner in (rules, line_matching, client)),
        ),
    ),
    Mutant(
        "split-unread",
        "Lines that the provider groups otherwise are not read.",
        replaced(ingest, "regroup", lambda *_: None),
    ),
    Mutant("no-overlap", "Discovery begins exactly where it ended.", replaced(discovery, "OVERLAP", timedelta(0))),
    Mutant(
        "wide-of-the-mark",
        "A look tells of the time its answer came, not of the time it was asked.",
        both(
            rewritten(
                _Poller,
                "_poll_one",
                ("Observation(Witness.POLL, answer.started_at,", "Observation(Witness.POLL, answer.finished_at,"),
            ),
            rewritten(
                _Poller,
                "_poll_page",
                ("page.orders, page.started_at, page.finished_at", "page.orders, page.finished_at, page.finished_at"),
            ),
        ),
    ),
    Mutant("unapproved-sent", "An order that waits for an approval is sent.", _sent_though_held()),
    Mutant(
        "declined-sent",
        "An order that was declined is sent.",
        both(
            _whoever_approved,
            rewritten(
                outbox, "release_held", ('"held": not approved, "done": not approved', '"held": False, "done": False')
            ),
        ),
    ),
    Mutant(
        "declined-resent",
        "An order that was declined can be sent again.",
        both(
            _whoever_approved,
            rewritten(model, "allowed_actions", ("if approval == Approval.DECLINED:", "if False:")),
            rewritten(outbox, "requeue", ('"done": False,', '"done": False, "held": False,')),
        ),
    ),
    Mutant(
        "judged-twice",
        "Of two judgments the later counts.",
        rewritten(ingest, "work_refusal", ("order.approval != Approval.WAITING", "order.approval is None")),
    ),
    Mutant(
        "approves-their-own",
        "Whoever submitted an order approves it.",
        replaced(events, "same_person", lambda *_: False),
    ),
    Mutant(
        "approves-unproven",
        "A name that no sign-in proves approves an order.",
        rewritten(approval, "_judge", ("if not by.signed_in:", "if False:")),
    ),
    Mutant(
        "limit-unread", "An order above the limit does not wait.", replaced(approval_rule, "why_waits", lambda *_: None)
    ),
    Mutant(
        "released-late",
        "An approved order is released with the next transaction.",
        one_transaction_late(
            ingest,
            "record_work",
            (
                "outbox.release_held(connection, order_id, now, approved=worked.approved)",
                "later(connection, lambda c: outbox.release_held(c, order_id, now, approved=worked.approved))",
            ),
        ),
    ),
    Mutant(
        "outcome-late",
        "That an order was touched is written down after its act.",
        one_transaction_late(
            job_runner,
            "_settle",
            ("connection.execute(SETTLE, rows)", "later(connection, lambda c, rows: c.execute(SETTLE, rows), rows)"),
        ),
    ),
    Mutant("sleeps-on", "A snooze is not ended by trouble.", replaced(rules, "end_snooze", lambda _, events: events)),
    Mutant(
        "begins-anew",
        "A job that is resumed starts from its beginning.",
        rewritten(
            jobs,
            "_change",
            (
                "        detail = {",
                (
                    "        waiting = update(JOB_ORDERS).where(JOB_ORDERS.c.job_id == job_id)\n"
                    "        connection.execute(waiting.values(outcome=WAITING))\n"
                    "        detail = {"
                ),
            ),
        ),
    ),
    Mutant("stop-unheard", "A job that was stopped goes on.", _jobs_taken(stopped=True)),
    Mutant(
        "key-forgotten",
        "An act that is asked for twice becomes two jobs.",
        rewritten(jobs, "start", ("key=key, by=by, now=now)", "key=f'{key} {now}', by=by, now=now)")),
    ),
    Mutant("job-orphaned", "A job that a dead worker held is never taken up.", _jobs_taken(leased_for_ever=True)),
    Mutant(
        "nameless",
        "What a job does is done in nobody's name.",
        rewritten(job_runner, "_act", ('"actor": job.person', '"actor": None')),
    ),
    Mutant(
        "passes-over",
        "A job passes over every second order.",
        rewritten(
            job_runner,
            "_act",
            ("    stored = orders", "    if order_id % 2 == 0:\n        return 'left out'\n    stored = orders"),
        ),
    ),
    Mutant("light-sleeper", "Whatever happens ends a snooze.", replaced(events, "_wakes", lambda *_: True)),
    Mutant(
        "names-exactly",
        "A name in other letters is another person's.",
        replaced(events, "same_person", lambda one, other: one == other),
    ),
    *(
        Mutant(
            f"unrecorded-{name}", f"That somebody {what} is not in the audit log.", replaced(owner, "record_act", _no)
        )
        for name, what, owner in (
            ("judgment", "approved or declined an order", approval),
            ("work", "snoozed, assigned or reopened an order", work),
            ("action", "polled, resent, noted or acknowledged", actions),
        )
    ),
    Mutant(
        "unrecorded-stop",
        "That somebody stopped or resumed a job is not in the audit log.",
        rewritten(
            jobs, "_change", ("        record_act(connection, by, kind, now, job_id=job_id, detail=detail)\n", "")
        ),
    ),
    Mutant(
        "recorded-before",
        "The audit log has an act before it is done, in a transaction of its own.",
        rewritten(
            actions,
            "_request",
            (
                (
                    "        request_step(connection, find(connection, order), what, kind, by=by, now=now)\n\n"
                    "    database.write(job)"
                ),
                (
                    "        ingest.request_action(\n"
                    "            connection, find(connection, order), what=what, actor=by.name, now=now\n        )\n"
                    "\n    def before(connection):\n"
                    "        record_act(connection, by, kind, now, order_id=find(connection, order))\n\n"
                    "    database.write(before)\n    database.write(job)"
                ),
            ),
        ),
    ),
    Mutant(
        "recorded-after",
        "The audit log has an act with the next transaction.",
        one_transaction_late(
            work,
            "_work",
            (
                "record_act(connection, by, kind, now, order_id=order_id, detail=work_detail(worked))",
                (
                    "later(connection, lambda c: "
                    "record_act(c, by, kind, now, order_id=order_id, detail=work_detail(worked)))"
                ),
            ),
        ),
    ),
    Mutant(
        "hook-late",
        "What other systems are notified of is written after the event, with the next transaction.",
        one_transaction_late(
            orders,
            "save_order",
            (
                "write(connection, notifications.INSERT_DELIVERIES, deliveries)",
                "later(connection, lambda c, rows: c.execute(notifications.INSERT_DELIVERIES, rows), deliveries)",
            ),
        ),
    ),
    Mutant("hook-overtakes", "What is due is delivered, whatever of its order waits before it.", _overtaking()),
    Mutant(
        "hook-renamed",
        "A message that is sent again has another id.",
        rewritten(
            deliverer.Deliverer,
            "_post",
            ('leased.row["message_id"], payload', """f"{leased.row['message_id']}{leased.row['attempts']}", payload"""),
        ),
    ),
    Mutant(
        "hook-hasty",
        "A message is called delivered before its receiver has answered.",
        rewritten(
            deliverer.Deliverer,
            "deliver",
            (
                "        started_at, began = self._clock(), time.monotonic()\n",
                (
                    "        started_at, began = self._clock(), time.monotonic()\n"
                    '        settled = {"delivery_id": leased.row["id"], "state": "delivered", "now": started_at}\n'
                    "        await self._database.run(partial(deliveries.settle, **settled))\n"
                ),
            ),
        ),
    ),
    Mutant(
        "hook-of-today",
        "A message tells what the order is when it is sent, not what it was at its event.",
        replaced(payloads, "_facts_at", lambda *_: {}),
    ),
    Mutant(
        "hook-given-up",
        "A message that was refused once is dropped.",
        rewritten(
            deliverer.Deliverer,
            "_record",
            ("    if reply.delivered or gone:\n", "    if reply.delivered or (gone := gone or reply.status == 400):\n"),
        ),
    ),
    Mutant(
        "late-early",
        "An order is announced as late a minute before it is.",
        rewritten(
            deliverer.Deliverer,
            "note_late_orders",
            ("now = self._clock()", "now = self._clock() + late_orders.OVERLAP"),
        ),
    ),
    Mutant("late-though-done", "Orders that have ended are announced as late.", _late_though_done()),
    Mutant(
        "late-again",
        "An order that stays late is announced with each look.",
        rewritten(
            late_orders,
            "missing",
            (' if (at := notified.get((order["id"], one.id))) is None or at < late_at]', "]"),
            ('order["created_at"], late_at)', 'order["created_at"], now)'),
        ),
    ),
    Mutant("late-unsaid", "It is not looked for late orders.", replaced(late_orders, "became_late", lambda *_: [])),
    Mutant(
        "late-by-the-guess",
        "What was promised for an order does not say from when on it is late.",
        rewritten(
            ingest,
            "_observe",
            (
                "planner.forecasts.late_limit(order.type, order.units).after",
                "first_late_after(order.type, order.units)",
            ),
        ),
    ),
    Mutant(
        "alert-unrecorded",
        "That a service has taken an alert is not recorded.",
        rewritten(lifecycle, "recorded", ("else alert.sent_to), *taken]", "else alert.sent_to)]")),
    ),
    Mutant(
        "alert-hasty",
        "A trouble is told of as soon as it is there.",
        rewritten(lifecycle, "_begun", ("max(began + lasts, now + min(lasts, SETTLED_AFTER))", "now")),
    ),
    Mutant(
        "alert-flaps",
        "What is gone for a moment is told of as over.",
        rewritten(lifecycle, "_absent", ("< RULES[alert.rule].clear", "< timedelta()")),
    ),
    Mutant(
        "alert-endless",
        "Nobody is told that a trouble is over.",
        rewritten(lifecycle, "_absent", ("now if alert.sent_to or alert.attempts else None", "None")),
    ),
    Mutant(
        "alert-for-all",
        "An alert that one service has taken counts as taken by all.",
        rewritten(
            notifier.Notifier,
            "_store_sent",
            ("[one.service] if one.taken else []", "[*self._services] if one.taken else []"),
        ),
    ),
    Mutant(
        "alert-outlives",
        "A trouble that is over before its message was sent is told of as if it were there.",
        rewritten(lifecycle, "_absent", ("clear_since=since, next_attempt_at=None)", "clear_since=since)")),
    ),
    Mutant("chain-cut", "No entry of the audit log knows the one before.", _head_forgotten()),
    Mutant(
        "row-late",
        "What became of a file's row is written down after its order.",
        one_transaction_late(
            placing,
            "place_next_rows",
            (
                "connection.execute(_SETTLE, settled)",
                "later(connection, lambda c, rows: c.execute(_SETTLE, rows), settled)",
            ),
        ),
    ),
    Mutant(
        "rows-lost",
        "A file is taken with its first group of orders alone.",
        rewritten(
            handing_in,
            "_add_rows",
            ("    connection.execute(upsert, ", "    if first['number'] == 1:\n        connection.execute(upsert, "),
        ),
    ),
    Mutant(
        "not-done",
        "What somebody asks for is in the audit log, and not done.",
        replaced(ingest, "record_work", lambda *_, **__: None),
    ),
    Mutant(
        "leaves-first",
        "What is archived leaves the store before its file has its name.",
        rewritten(
            archiving.Archiver,
            "_archive",
            (
                "    temporary.rename(path)\n",
                '    self._remove(archive["id"], logs, before)\n    temporary.rename(path)\n',
            ),
        ),
    ),
    Mutant(
        "facts-forgotten",
        "What an order was at its checkpoint is not stored before a later event changes it.",
        replaced(orders, "keep_facts", lambda *_: None),
    ),
    Mutant(
        "uncounted-checkpoint",
        "A checkpoint does not tell what the events that left had added to the counters.",
        replaced(removal, "movements_of", lambda _: []),
    ),
)
