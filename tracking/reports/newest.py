"""Newest rows of several kinds: reads the newest of each kind along its index, then merges them. Bounded reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select


def newest_ids(key: Any, kind: Any, at: Any, kinds: Sequence[str], limit: int, *conditions: Any) -> Any:
    """Select keys and times of the newest `limit` rows of these kinds that meet the conditions, newest first.

    To sort what an index on kind and time gives for several kinds, a database reads all rows of them; of each kind
    alone the index gives the newest as they come.
    """
    each = (
        select(key, at).where(kind == word, *conditions).order_by(at.desc(), key.desc()).limit(limit).subquery()
        for word in kinds
    )
    parts = [select(part.c[key.name], part.c[at.name]) for part in each]
    of_all = (parts[0] if len(parts) == 1 else sa.union_all(*parts)).subquery()
    return select(of_all).order_by(of_all.c[at.name].desc(), of_all.c[key.name].desc()).limit(limit)
