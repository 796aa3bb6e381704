"""Tells silent webhooks from quiet times. Pure.

Two kinds of evidence add up since the last webhook: open orders that by their curves should have finished, which is but
a suspicion (many may just be slow), and finished orders that a look found without any announcement. A suspicion is
settled by looks that do not count on webhooks; the alarm rests on what they found.
"""

import math
from dataclasses import dataclass

import numpy as np

from tracking.forecasting.survival import FAINT, Array
from tracking.forecasting.waits import MOST_HEARD

SUSPICIOUS = 3.0  # nats: e^-3, five in a hundred silences are as long by chance
ALARMING = 13.0  # nats: about three finished orders in a row that did not announce themselves, where 99 of 100 do
FROM_ONE_ORDER = 1.0  # nats: an order that is stuck says nothing about webhooks


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for silence since the last webhook.

    Attributes:
        heard: the share of completions that announce themselves, as was learned before.
        expected: announcements that should have come by now, in expectation.
        missed: orders that a look found finished although nothing had announced them.
    """

    heard: float
    expected: float = 0.0
    missed: int = 0

    @property
    def suspicious(self) -> bool:
        """Whether looks at open orders should tell if completions go unannounced."""
        return self.heard > 0 and (self.expected >= SUSPICIOUS or self.missed > 0)

    @property
    def alarming(self) -> bool:
        """Whether the silence is no accident."""
        return self.heard > 0 and -self.missed * math.log(1 - min(self.heard, MOST_HEARD)) >= ALARMING


def expected(heard: float, before: Array, after: Array) -> float:
    """How many announcements should have come in a time.

    Args:
        heard: the share of completions that announce themselves.
        before: the share of its class still open when the time began, for each open order; shape (n,).
        after: the same when it ended.
    """
    hazards = np.log(np.maximum(before, FAINT) / np.maximum(after, FAINT))
    return heard * float(np.minimum(np.maximum(hazards, 0.0), FROM_ONE_ORDER).sum())
