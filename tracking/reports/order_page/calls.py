"""API calls that concern one order, list pages that showed it included; bodies are masked. Bounded."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from tracking.orders.model import Witness
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, EXCHANGES

CALLS_LISTED = 50


def api_calls(database: Database, order_id: int, limit: int = CALLS_LISTED) -> list[dict[str, Any]]:
    """The newest calls that concern the order, list pages that showed it included; bodies are masked."""
    polled = select(EVENTS.c.happened_at).where(EVENTS.c.order_id == order_id, EVENTS.c.witness == Witness.POLL)
    # A look happens when its call leaves, whatever the call asked for.
    listed = (EXCHANGES.c.order_id.is_(None), EXCHANGES.c.method == "GET", EXCHANGES.c.path.startswith("/v1/Orders"))
    conditions = ((EXCHANGES.c.order_id == order_id,), (*listed, EXCHANGES.c.at.in_(polled)))
    queries = (select(EXCHANGES).where(*one).order_by(EXCHANGES.c.at.desc()).limit(limit) for one in conditions)
    with database.read() as connection:
        calls = [dict(row) for query in queries for row in connection.execute(query).mappings()]
    newest = sorted(calls, key=lambda call: (call["at"], call["id"]), reverse=True)[:limit]
    return [call | {name: indented(call[name]) for name in ("request", "answer")} for call in newest]


def indented(text: str | None) -> str | None:
    """JSON on lines of its own; anything else, such as JSON that was cut, as it is."""
    try:
        return text and json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
