"""API tokens as stored: made, listed, revoked, found by their hash; and how often each read. Steps of a job."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.engine import RowMapping

from tracking.errors import NotAllowed
from tracking.storage.integration.tables import API_TOKENS, API_USE
from tracking.storage.tables import insert_for

HOUR = timedelta(hours=1)
USES_AT_ONCE = 100
ANSWER = "answer"  # what is read is counted, and each answer
_BY_DIGEST = select(API_TOKENS).where(API_TOKENS.c.digest == bindparam("digest"))
_VALID = and_(
    API_TOKENS.c.id == bindparam("token"),
    API_TOKENS.c.revoked_at.is_(None),
    or_(API_TOKENS.c.expires_at.is_(None), API_TOKENS.c.expires_at > bindparam("now")),
)
_VALID_ID = select(API_TOKENS.c.id).where(_VALID)
_COUNT_ACT = update(API_TOKENS).where(_VALID).values(acts=API_TOKENS.c.acts + 1, last_used_at=bindparam("now"))


def add(
    connection: Connection, name: str, digest: str, access: str, by: str, now: datetime, expires_at: datetime | None
) -> int:
    """Store a token by its hash; returns its number. Raises NotAllowed where one has, or once had, the name."""
    if connection.execute(select(API_TOKENS.c.id).where(API_TOKENS.c.name == name)).first() is not None:
        raise NotAllowed(f"a token has, or had, the name {name!r}, under which the logs know it: give another name")
    row = {"name": name, "digest": digest, "access": access, "created_at": now, "created_by": by, "reads": 0, "acts": 0}
    row["expires_at"] = expires_at
    return int(connection.execute(insert(API_TOKENS).values(row).returning(API_TOKENS.c.id)).scalar_one())


def revoke(connection: Connection, name: str, by: str, now: datetime) -> bool:
    """Revoke the token of this name; returns whether it was valid. Raises NotAllowed where there is none."""
    query = select(API_TOKENS.c.revoked_at).where(API_TOKENS.c.name == name).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise NotAllowed(f"no token has the name {name!r}: `tracking tokens list` has them all")
    if row.revoked_at is None:
        connection.execute(update(API_TOKENS).where(API_TOKENS.c.name == name).values(revoked_at=now, revoked_by=by))
    return row.revoked_at is None


def find(connection: Connection, digest: str) -> RowMapping | None:
    """The token with this hash, whether it counts or not; None where there is none."""
    return connection.execute(_BY_DIGEST, {"digest": digest}).mappings().one_or_none()


def counts(connection: Connection, token_id: int, now: datetime) -> bool:
    """Whether the token counts: it was not revoked, and has not expired."""
    return connection.execute(_VALID_ID, {"token": token_id, "now": now}).first() is not None


def newest_tokens(connection: Connection, at_most: int | None) -> Sequence[RowMapping]:
    """The newest tokens, so many or all, those that count no more too, the newest first."""
    return connection.execute(select(API_TOKENS).order_by(API_TOKENS.c.id.desc()).limit(at_most)).mappings().all()


def count_act(connection: Connection, token_id: int, now: datetime) -> bool:
    """Count an act by the token and lock it; False where it is no longer valid, so that it may not act."""
    return bool(connection.execute(_COUNT_ACT, {"token": token_id, "now": now}).rowcount)


def count_reads(connection: Connection, reads: Mapping[tuple[int, datetime, str], int], now: datetime) -> None:
    """Count reads by token, hour and what was read."""
    for token_id, number in sorted(_by_token(reads).items()):
        counted = {"reads": API_TOKENS.c.reads + number, "last_used_at": now}
        connection.execute(update(API_TOKENS).where(API_TOKENS.c.id == token_id).values(counted))
    adding = insert_for(connection.dialect.name, API_USE)
    adding = adding.on_conflict_do_update(
        index_elements=["hour", "token_id", "what"], set_={"times": API_USE.c.times + adding.excluded.times}
    )
    rows = [
        {"hour": hour, "token_id": token_id, "what": what, "times": number}
        for (token_id, hour, what), number in sorted(reads.items())
    ]
    if rows:
        connection.execute(adding, rows)


def _by_token(reads: Mapping[tuple[int, datetime, str], int]) -> Counter[int]:
    numbers: Counter[int] = Counter()
    for (token_id, _, what), number in reads.items():
        numbers[token_id] += number if what == ANSWER else 0
    return numbers


@dataclass(frozen=True, slots=True)
class Use:
    """How often a token read what within an hour that is over."""

    token: str
    hour: datetime
    times: Mapping[str, int]


def has_ended_use(connection: Connection, now: datetime) -> bool:
    """Whether an hour is over of which reads are counted."""
    return connection.execute(select(API_USE.c.hour).where(API_USE.c.hour <= now - HOUR).limit(1)).first() is not None


def take_ended_use(connection: Connection, now: datetime) -> list[Use]:
    """Take out what was counted of hours that are over, so many at the most; the oldest first, each once."""
    query = select(API_USE.c.hour, API_USE.c.token_id).where(API_USE.c.hour <= now - HOUR)
    of = query.distinct().order_by(API_USE.c.hour, API_USE.c.token_id).limit(USES_AT_ONCE)
    uses: list[Use] = []
    for hour, token_id in connection.execute(of).all():
        removed = delete(API_USE).where(API_USE.c.hour == hour, API_USE.c.token_id == token_id)
        rows = connection.execute(removed.returning(API_USE.c.what, API_USE.c.times)).all()
        times = {row.what: row.times for row in rows}
        name = connection.execute(select(API_TOKENS.c.name).where(API_TOKENS.c.id == token_id)).scalar_one()
        if times:  # else another process has taken it
            uses.append(Use(name, hour, dict(sorted(times.items()))))
    return uses
