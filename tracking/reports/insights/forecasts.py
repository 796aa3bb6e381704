"""Forecast accuracy: how many of the 90 % ETAs whose time has passed held, by type of order. Bounded reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tracking.forecasting.classes import RELIABLE_ORDERS
from tracking.forecasting.predictions import SCORED, Score, score_by_type
from tracking.startup import pd
from tracking.storage.database import Database

PROMISED = 90  # of 100
ALL = ""  # in place of a type
_CHANCE = 1.96  # standard deviations: what keeps the promise lies within them 95 of 100 times


class Verdict(StrEnum):
    """Whether as many ETAs held as were promised, as far as is known."""

    FEWER = "fewer than promised"
    WITHIN_CHANCE = "as promised within chance"
    AS_PROMISED = "as promised"
    MORE = "more than promised"


def verdict(score: Score) -> Verdict:
    """Whether what held reaches the promised share, if need be within what chance brings; at the most, if not known."""
    least, most = score.held, score.predictions - score.failed
    share = PROMISED / 100
    due, chance = share * score.predictions, _CHANCE * math.sqrt(share * (1 - share) * score.predictions)
    if most < due:
        return Verdict.FEWER if most < due - chance else Verdict.WITHIN_CHANCE
    return Verdict.MORE if least > due + chance else Verdict.AS_PROMISED


@dataclass(frozen=True, slots=True)
class ForecastAccuracy:
    """How the ETAs of a period fared.

    `rows`: by type of order, ALL of them first: type, etas (how many came due), held_least and held_most
    (of 100, as far as is known), verdict. `text`: the finding in a sentence.
    """

    rows: pd.DataFrame
    text: str


def forecast_accuracy(database: Database, since: datetime, now: datetime) -> ForecastAccuracy:
    """Report how the 90 % ETAs fared whose time came since then, the newest SCORED of them."""
    with database.read() as connection:
        by_type = score_by_type(connection, since, now)
    scores = list(by_type.values())
    total = Score(*(sum(getattr(one, name) for one in scores) for name in ("predictions", "held", "failed")))
    rows = [
        (name, score.predictions, *score.held_of_100, verdict(score).value)
        for name, score in {ALL: total, **by_type}.items()
        if scores
    ]
    return ForecastAccuracy(
        pd.DataFrame(rows, columns=["type", "etas", "held_least", "held_most", "verdict"]), _finding(total)
    )


def _finding(total: Score) -> str:
    if not total.predictions:
        return "No ETA came due in this period."
    if total.predictions < RELIABLE_ORDERS:
        return f"Not enough history ({total.predictions} of {RELIABLE_ORDERS} ETAs): so far {_share(total)}."
    newest = "the newest " if total.predictions >= SCORED else ""
    due = f"{PROMISED} of 100, so {math.ceil(PROMISED * total.predictions / 100):,}"
    return f"{newest}{_share(total)}, {verdict(total)} ({due})."


def _share(score: Score) -> str:
    """How many ETAs held, as far as is known: "90 % ETAs: 20 made, 17 to 18 held"."""
    least, most = score.held, score.predictions - score.failed
    held = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{PROMISED} % ETAs: {score.predictions:,} made, {held} held"
