"""What the pages remember of what they have read, for tests that cannot wait until it is read anew."""

from dataclasses import replace

import cached
from refreshed import Refreshed


def expire() -> None:
    """As if the time of all that the pages remember were over."""
    for read in vars(cached).values():
        if isinstance(read, Refreshed):
            read.answers = {key: replace(answer, recent_until=0.0) for key, answer in read.answers.items()}
