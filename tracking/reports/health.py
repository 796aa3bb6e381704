"""Health: read each component's status, what deserves a banner, and all of it as one word. Writes nothing."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders import wording as sentences
from tracking.reports.board.balance import balance_currency, is_low
from tracking.reports.logs.contract import ContractChange, changes_in
from tracking.storage.database import Database
from tracking.storage.facts import (
    FORECAST,
    LOOP_ALARM_AFTER,
    Fact,
    FactKey,
    get_fact,
    heartbeat_key,
    is_running,
    living_owners,
)
from tracking.storage.inbox import last_webhook_at
from tracking.storage.integration import subscriptions
from tracking.storage.maintenance.restore_mark import RestoreMark, mark_from
from tracking.storage.outbox import SENDABLE
from tracking.storage.tables import EXCHANGES, FACTS, ORDERS, OUTBOX
from tracking.webhooks.silence_alarm import SilenceAlarm

ENDED_ALARM_LASTS = timedelta(hours=1)
# One call may fail for what has to do with its order alone: it takes more to call the provider unreachable.
UNREACHABLE_AFTER = timedelta(seconds=15)
UNREACHABLE_FAILURES = 3
WAL_LARGE = 256 * 1024 * 1024
MANY_DUE = 1000
HOOKS_NAMED = 5
# True of every call. Without this condition SQLite 3.53 reads and sorts all calls, with bodies, to find the first.
_BY_TIME = EXCHANGES.c.at > datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST_CALL = select(EXCHANGES.c.at).where(_BY_TIME).order_by(EXCHANGES.c.at.desc()).limit(1)
_Facts = Mapping[str, Fact]
# The loops by the names of their heartbeats, as people read them.
_WORKERS = {"poller": "Poller", "sender": "Sender", "webhooks": "Webhook receiver"}


class Level(StrEnum):
    """How grave it is: an error keeps work from being done, a warning may, an info only explains."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """The status of one part of the console: its name, since when, in words; `worrying` when something may be wrong."""

    name: str
    at: datetime | None
    text: str
    worrying: bool = False


@dataclass(frozen=True, slots=True)
class LowBalance:
    """A balance below its threshold, as it was read last; minor units of the currency, "" where nobody knows that."""

    read_at: datetime
    available_minor: int
    below_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Health:
    """What deserves a banner on every page.

    `why_unreachable`: why the latest call failed, in words, where that is known. `restored`: how far the store is
    reconciled after it was restored from a backup. `wal_bytes`: the size of a write-ahead log that is larger than it
    should be, else 0. `webhooks`: the alarm about silent webhooks, while it lasts and for an hour after it ended.
    `unavailable`: calls are paused as the provider says that it is not available, not as there were too many.
    `contract`: what of its API is new or gone, and nobody has marked as read. `low_balance`: the balance, where it is
    below the threshold. `unanswered_since`: since when each call has failed; None where the latest
    did not. `left_out`: how many open orders wait for their planned time unweighed, as more are open than are weighed.
    `hooks_off`: names of outgoing webhooks that were switched off as they failed, a few.
    """

    unreachable_since: datetime | None
    refused: str | None
    paused_until: datetime | None
    silent: tuple[str, ...]
    restored: RestoreMark | None = None
    wal_bytes: int = 0
    webhooks: SilenceAlarm | None = None
    why_unreachable: str | None = None
    unavailable: bool = False
    contract: tuple[ContractChange, ...] = ()
    low_balance: LowBalance | None = None
    unanswered_since: datetime | None = None
    left_out: int = 0
    hooks_off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """What the account held when it was last read: minor units, None where the provider does not offer it."""

    read_at: datetime
    available_minor: int | None


def balance(database: Database) -> Balance | None:
    """Read the account's balance as last learned from the provider; None before the first time."""
    with database.read() as connection:
        stored = get_fact(connection, FactKey.BALANCE)
    return Balance(stored.at, stored.value.get("available_minor")) if stored else None


def absent_loop(database: Database, role: str, now: datetime) -> str | None:
    """Say that no worker is running that would do what comes next, and what starts one; None while one is."""
    with database.read() as connection:
        beat = get_fact(connection, heartbeat_key(role))
    if beat is not None and is_running(beat, now):
        return None
    what = "worker" if role == "jobs" else role
    return f"no {what} is running: start `tracking console`, or `tracking worker` for no pages"


def _facts(connection: Connection) -> _Facts:
    small = select(FACTS.c.key, FACTS.c.at, FACTS.c.value).where(FACTS.c.key.not_like(f"{FORECAST}%"))
    return {row.key: Fact(row.at, row.value) for row in connection.execute(small)}


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def component_status(connection: Connection, now: datetime) -> tuple[ComponentStatus, ...]:
    """Read when each part of the console was last at work, and whether the provider answers."""
    facts = _facts(connection)
    due = connection.execute(select(sa.func.count()).where(ORDERS.c.next_look_at <= now)).scalar_one()
    client_at, client = facts.get(FactKey.API_CLIENT, (None, {}))
    polled_at = connection.execute(_NEWEST_CALL.where(EXCHANGES.c.method == "GET")).scalar()
    called_at = last_webhook_at(connection)
    token = _time(client.get("token_valid_until"))
    overdue = _overdue_roles(connection, now)
    return (
        ComponentStatus("Last poll", polled_at, sentences.ago(polled_at, now)),
        ComponentStatus("Last webhook", called_at, sentences.ago(called_at, now)),
        ComponentStatus("Token", token, _token_text(token, now)),
        ComponentStatus("API usage", client_at, _usage(client_at, client, now)),
        ComponentStatus("Polls due", None, f"{due:,}", worrying=due > MANY_DUE),
        *(_loop_status(role, facts, overdue, now) for role in _WORKERS),
        _provider_status(connection, client, now),
        *_alert_status(facts, now),
        *_removal_status(facts, now),
    )


def _alert_status(facts: _Facts, now: datetime) -> Iterable[ComponentStatus]:
    """Which services take alerts and which do not; nothing where no process sends any now."""
    at, value = facts.get(FactKey.ALERTS, (None, {}))
    if not value or now > datetime.fromisoformat(value["until"]):
        return
    texts = [
        f"{name} takes none since {sentences.clock(since, now)}"
        if (since := _time(value["failing"].get(name)))
        else name
        for name in value["services"]
    ]
    yield ComponentStatus("Alerts", at, f"sent to {', '.join(texts)}", worrying=bool(value["failing"]))


def _removal_status(facts: _Facts, now: datetime) -> Iterable[ComponentStatus]:
    """How many orders' logs left the database, or why none can; nothing where none ever did."""
    _, value = facts.get(FactKey.RETENTION, (None, {}))
    if value.get("trouble"):
        yield ComponentStatus("Archive", None, f"{value['trouble']}; nothing is removed until it can be", worrying=True)
    if "orders" in value:
        at = _time(value.get("removed_at"))
        stay = f", {value['unsound']:,} stay: run tracking verify" if value["unsound"] else ""
        text = f"{value['orders']:,} orders, last {sentences.ago(at, now)}{stay}"
        yield ComponentStatus("Old logs removed", at, text, worrying=bool(value["unsound"]))


def summary(components: Iterable[ComponentStatus], banners: Iterable[Level]) -> tuple[str, Level]:
    """All of it in one word with its level: the worst of the components and of the banners' levels.

    "down" where work is not done, "degraded" where something may be wrong, else "healthy".
    """
    levels = {*banners, *(Level.WARNING for component in components if component.worrying)}
    if Level.ERROR in levels:
        return "down", Level.ERROR
    return ("degraded", Level.WARNING) if Level.WARNING in levels else ("healthy", Level.SUCCESS)


def _token_text(until: datetime | None, now: datetime) -> str:
    """For how long the token is valid. One that has expired is no trouble: the next call asks for another."""
    if until is None:
        return "none yet"
    if until > now:
        return f"expires in {sentences.duration(until - now)}"
    return f"expired {sentences.ago(until, now)}; the next call renews it"


def _why_failing(client: Mapping[str, Any]) -> str | None:
    """The words of the latest error, without its kind."""
    return (client.get("last_error") or "").partition(": ")[2] or None


def _is_lasting(client: Mapping[str, Any], now: datetime) -> bool:
    """Whether calls have failed for so long, or so often, without a success that the provider cannot be reached."""
    since, failures = _time(client.get("failing_since")), client.get("failures", UNREACHABLE_FAILURES)
    return since is not None and is_unreachable(failures, now - since)


def is_unreachable(failures: int, lasted: timedelta) -> bool:
    """Whether so many calls that failed one after another, for so long, mean that the provider cannot be reached."""
    return failures >= UNREACHABLE_FAILURES or (failures > 1 and lasted >= UNREACHABLE_AFTER)


def _refusal(client: Mapping[str, Any]) -> str | None:
    """The latest error where calls fail because the credentials are refused."""
    error = client.get("last_error") or ""
    return error if client.get("failing_since") and error.startswith(("CredentialsRefused", "AccessDisabled")) else None


def _usage(at: datetime | None, client: Mapping[str, Any], now: datetime) -> str:
    rate = client.get("rate")
    if at is None or not rate:
        return "no API calls yet"
    if now - at > LOOP_ALARM_AFTER:
        return f"unknown for {sentences.duration(now - at)}"
    return f"{client.get('calls_in_the_last_minute', 0):,} / {rate * 60:,.0f} per min"


def _provider_status(connection: Connection, client: Mapping[str, Any], now: datetime) -> ComponentStatus:
    if (failing_since := _time(client.get("failing_since"))) is not None:
        why = f": {why}" if (why := _why_failing(client)) else ""
        if not _is_lasting(client, now) and not _refusal(client):
            return ComponentStatus("Provider", failing_since, f"a call failed {sentences.ago(failing_since, now)}{why}")
        text = f"no answer for {sentences.duration(now - failing_since)}{why}"
        return ComponentStatus("Provider", failing_since, text, worrying=True)
    answered = _NEWEST_CALL.where(EXCHANGES.c.status.is_not(None))
    at = connection.execute(answered).scalar()
    return ComponentStatus(
        "Provider", at, "not called yet" if at is None else f"OK (last answer {sentences.ago(at, now)})"
    )


def _overdue_roles(connection: Connection, now: datetime) -> set[str]:
    """Read which loops have had work to do for longer than one of them may be silent."""
    since = now - LOOP_ALARM_AFTER
    work = {
        "poller": select(ORDERS.c.id).where(ORDERS.c.next_look_at <= since),
        "sender": select(OUTBOX.c.order_id).where(SENDABLE, OUTBOX.c.next_attempt_at <= since),
    }
    return {role for role, query in work.items() if connection.execute(query.limit(1)).first() is not None}


def _loop_status(role: str, facts: _Facts, overdue: Container[str], now: datetime) -> ComponentStatus:
    """Describe a loop. One that never ran worries nobody until it has work to do."""
    name, beat = _WORKERS[role], facts.get(heartbeat_key(role))
    if beat is None:
        waiting = role in overdue
        return ComponentStatus(name, None, "not running, and orders are waiting" if waiting else "not running", waiting)
    at = beat.at
    if is_running(beat, now):
        left_out = _left_out(facts, now) if role == "poller" else 0
        also = f", {left_out:,} open orders only when planned" if left_out else ""
        number = len(living_owners(beat.value, now))
        several = f" in {number} processes" if number > 1 else ""
        return ComponentStatus(name, at, f"running{several}{also}")
    ended = beat.value.get("owners") == {}  # it was withdrawn, by the process itself or by the next one
    text = f"stopped {sentences.ago(at, now)}" if ended else f"no heartbeat for {sentences.duration(now - at)}"
    return ComponentStatus(name, at, text, now - at > LOOP_ALARM_AFTER)


def _left_out(facts: _Facts, now: datetime) -> int:
    """How many open orders the poller that is running left out when it last weighed them."""
    beat = facts.get(heartbeat_key("poller"))
    return int(beat.value.get("left_out", 0)) if beat is not None and is_running(beat, now) else 0


def _webhook_alarm(facts: _Facts, now: datetime) -> SilenceAlarm | None:
    stored = facts.get(FactKey.WEBHOOK_SILENCE)
    alarm = SilenceAlarm.from_fact(stored[1]) if stored else None
    over = alarm is not None and alarm.ended_at is not None and now - alarm.ended_at > ENDED_ALARM_LASTS
    return None if over else alarm


def _low_balance(connection: Connection, facts: _Facts) -> LowBalance | None:
    if (stored := facts.get(FactKey.BALANCE)) is None:
        return None
    at, value = stored
    available, below = value.get("available_minor"), value.get("below_minor")
    if available is None or below is None or not is_low(available, below):
        return None
    return LowBalance(at, available, below, balance_currency(connection, value))


def health(database: Database, now: datetime) -> Health:
    """What deserves a banner: an unreachable provider, refused credentials, workers that do not respond."""
    with database.read() as connection:
        facts, overdue = _facts(connection), _overdue_roles(connection, now)
        low_balance = _low_balance(connection, facts)
        hooks_off = subscriptions.switched_off(connection, HOOKS_NAMED)
    client = facts.get(FactKey.API_CLIENT, (None, {}))[1]
    refused = _refusal(client)
    since = _time(client.get("failing_since")) if not refused and _is_lasting(client, now) else None
    paused = _time(client.get("paused_until"))
    mark = facts.get(FactKey.RESTORED_COPY)
    contract = facts.get(FactKey.CONTRACT, (None, {}))[1]
    log_size = database.wal_bytes()
    return Health(
        unreachable_since=since,
        refused=refused,
        paused_until=paused if paused and paused > now else None,
        silent=tuple(role for role in ("poller", "sender") if _loop_status(role, facts, overdue, now).worrying),
        restored=mark_from(mark[1]) if mark else None,
        wal_bytes=log_size if log_size > WAL_LARGE else 0,
        webhooks=_webhook_alarm(facts, now),
        why_unreachable=_why_failing(client) if since else None,
        unavailable=(client.get("last_error") or "").startswith("Throttled: ") and "(503)" in client["last_error"],
        contract=changes_in(contract.get("news", ())),
        low_balance=low_balance,
        unanswered_since=_time(client.get("failing_since")),
        left_out=_left_out(facts, now),
        hooks_off=tuple(row["name"] for row in hooks_off),
    )


def why_no_calls(trouble: Health, now: datetime) -> str | None:
    """Say why no API call gets through now, so that what needs one has no end to project; None where they do."""
    if trouble.refused:
        return "the provider refuses the credentials"
    if trouble.unreachable_since:
        return f"the provider is unreachable since {sentences.clock(trouble.unreachable_since, now)}"
    return f"API calls are paused until {sentences.clock(trouble.paused_until, now)}" if trouble.paused_until else None
