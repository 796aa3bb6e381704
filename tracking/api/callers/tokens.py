"""API tokens: made and shown once, listed, expired, revoked; and the caller that a token stands for."""

import hashlib
import re
import secrets
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from tracking.access import Access, Person
from tracking.api.problems import Refusal
from tracking.errors import InvalidSubmission, Problem
from tracking.orders import wording
from tracking.storage.database import Database
from tracking.storage.integration import tokens
from tracking.storage.team.audit_log import AuditKind, record_act

# Whoever looks for secrets that got out (scanners of code, of logs) knows one by it.
PREFIX = "trk_"
ACTOR = "api:"
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
# Long enough that nobody changes one each month, and so chooses never; short enough that one that got out, which nobody
# has noticed, ends within a quarter of a year.
DAYS = 90
MOST_DAYS = 3650
WARNED_BEFORE = timedelta(days=14)
LISTED = 500
NEVER = "never"
_CHALLENGE = 'Bearer realm="tracking", error="invalid_token"'
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the token by its number, and the person that it counts as."""

    token_id: int
    name: str
    access: Access
    created_at: datetime
    expires_at: datetime | None = None

    @property
    def person(self) -> Person:
        """The person in whose name the token acts; never one whom a sign-in proves, and so none who approves."""
        return Person(f"{ACTOR}{self.name}", self.access)


class Standing(StrEnum):
    """Whether a token counts."""

    ACTIVE = "active"
    EXPIRES_SOON = "expires soon"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as people see it: what it may, until when, and how much it was used. Nothing of itself."""

    name: str
    access: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    reads: int
    acts: int
    revoked_at: datetime | None
    revoked_by: str | None

    def standing(self, now: datetime) -> Standing:
        """Whether it counts, and for how long."""
        if self.revoked_at is not None:
            return Standing.REVOKED
        if self.expires_at is None or now < self.expires_at - WARNED_BEFORE:
            return Standing.ACTIVE
        return Standing.EXPIRES_SOON if now < self.expires_at else Standing.EXPIRED

    def ends(self, now: datetime) -> str:
        """When it ends, in words: "never expires", "expires in 6 days", "expired 2 h ago"."""
        if self.expires_at is None:
            return "never expires"
        left = self.expires_at - now
        return f"expires in {_days(left)}" if left > timedelta() else f"expired {_days(-left)} ago"


def _days(length: timedelta) -> str:
    return wording.count(length.days, "day") if length >= timedelta(days=2) else wording.duration(length)


def listed_tokens(database: Database, at_most: int | None = LISTED) -> list[Token]:
    """The newest tokens, so many or all, those that count no more too, the newest first."""
    names = [each.name for each in fields(Token)]
    with database.read() as connection:
        return [Token(*(row[name] for name in names)) for row in tokens.newest_tokens(connection, at_most)]


def make_token(
    database: Database, name: str, access: Access, *, by: Person, now: datetime, days: int | None = DAYS
) -> str:
    """Make a token, 256 random bits, of which the store keeps the hash alone: show it once.

    It expires after so many days; None: never. Raises NotPermitted, InvalidSubmission for a name or a number of days
    that cannot be one, NotAllowed where a token had the name before.
    """
    by.must_operate()
    problems = []
    if not _NAME.fullmatch(name):
        rule = "must be 1 to 40 lower-case letters, digits, dots, dashes and underscores: it stands in logs"
        problems.append(Problem("NAME", rule))
    if days is not None and not 1 <= days <= MOST_DAYS:
        problems.append(Problem("Days", f"must be 1 to {MOST_DAYS:,}"))
    if problems:
        raise InvalidSubmission(problems)
    token, expires_at = PREFIX + secrets.token_urlsafe(32), None if days is None else now + timedelta(days=days)
    detail = {"token": name, "access": access.value, "expires": _iso(expires_at) if expires_at else NEVER}

    def job(connection: Connection) -> None:
        tokens.add(connection, name, digest_of(token), access.value, by.name, now, expires_at)
        record_act(connection, by, AuditKind.API_ACCESS_GIVEN, now, detail=detail)

    database.write(job)
    return token


def revoke_token(database: Database, name: str, *, by: Person, now: datetime) -> bool:
    """Have the token count no more, at once in every process; returns whether it did until now.

    Raises NotPermitted, and NotAllowed where no token has the name.
    """
    by.must_operate()

    def job(connection: Connection) -> bool:
        revoked = tokens.revoke(connection, name, by.name, now)
        if revoked:
            record_act(connection, by, AuditKind.API_ACCESS_ENDED, now, detail={"token": name})
        return revoked

    return database.write(job)


def digest_of(token: str) -> str:
    """The SHA-256 of a token in hex. Nobody can guess 256 bits, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_counts(database: Database, caller: Caller, now: datetime) -> None:
    """Check that the token of somebody who waited counts still. Raises Refusal."""
    with database.read() as connection:
        if not tokens.counts(connection, caller.token_id, now):
            raise ended_meanwhile()


def find_caller(database: Database, token: str, now: datetime) -> Caller:
    """Who calls with this token. Looked up each time it comes. Raises Refusal where it is none, or counts no more."""
    row = None
    if _FORM.fullmatch(token):
        with database.read() as connection:
            row = tokens.find(connection, digest_of(token))
    if row is None:
        raise _refusal("This token does not count.")
    if row["revoked_at"] is not None:
        raise _refusal(f"This token was revoked on {_iso(row['revoked_at'])}.")
    if row["expires_at"] is not None and row["expires_at"] <= now:
        raise _refusal(f"This token expired on {_iso(row['expires_at'])}: make another one.")
    return Caller(row["id"], row["name"], Access(row["access"]), row["created_at"], row["expires_at"])


def ended_meanwhile() -> Refusal:
    """The refusal of a token that counted when the request came, and counts no more."""
    return _refusal("This token was revoked, or has expired.")


def _refusal(detail: str) -> Refusal:
    return Refusal("unauthorized", detail, headers={"WWW-Authenticate": _CHALLENGE})


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
