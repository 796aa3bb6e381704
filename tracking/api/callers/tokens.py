"""Tokens of the API: made once and shown once, revoked, and who it is that calls with one."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tracking.access import Access, Person
from tracking.api.problems import Refusal
from tracking.errors import InvalidSubmission, Problem
from tracking.storage.database import Database
from tracking.storage.integration import tokens
from tracking.storage.team.audit_log import AuditKind, record_act

# Whoever looks for secrets that got out (scanners of code, of logs) knows one by it.
PREFIX = "trk_"
ACTOR = "api:"
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the token by its number, and the person that it counts as."""

    token_id: int
    name: str
    access: Access
    created_at: datetime

    @property
    def person(self) -> Person:
        """The person in whose name the token acts; never one whom a sign-in proves, and so none who approves."""
        return Person(f"{ACTOR}{self.name}", self.access)


def make_token(database: Database, name: str, access: Access, *, by: Person, now: datetime) -> str:
    """Make a token, 256 random bits, of which the store keeps the hash alone: show it once.

    Raises NotPermitted, InvalidSubmission for a name that cannot be one, NotAllowed where a token had it before.
    """
    by.must_operate()
    if not _NAME.fullmatch(name):
        rule = "must be 1 to 40 lower-case letters, digits, dots, dashes and underscores: it stands in logs"
        raise InvalidSubmission([Problem("NAME", rule)])
    token = PREFIX + secrets.token_urlsafe(32)

    def job(connection: Connection) -> None:
        tokens.add(connection, name, digest_of(token), access.value, by.name, now)
        record_act(connection, by, AuditKind.API_ACCESS_GIVEN, now, detail={"token": name, "access": access.value})

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


def check_counts(database: Database, caller: Caller) -> None:
    """Check that the token of somebody who waited was not revoked meanwhile. Raises Refusal."""
    with database.read() as connection:
        if not tokens.counts(connection, caller.token_id):
            raise Refusal("unauthorized", "This token was revoked.")


def find_caller(database: Database, token: str) -> Caller | None:
    """Who calls with this token; None where it is none, or does not count any more. Looked up each time it comes."""
    if not _FORM.fullmatch(token):
        return None
    with database.read() as connection:
        row = tokens.find(connection, digest_of(token))
    return Caller(row["id"], row["name"], Access(row["access"]), row["created_at"]) if row else None
