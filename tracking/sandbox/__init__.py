"""A simulated gift-card provider over HTTP, with a memory of its own: for demonstrations, tests and rehearsals.

Not a mock: it keeps orders, balance, completions and webhooks in its own file, and can be switched to every behaviour
the provider's documentation leaves open. It imports nothing of the rest of `tracking`.
"""

from tracking.sandbox.scenarios import SCENARIOS, Scenario
from tracking.sandbox.simulator import Sandbox
from tracking.sandbox.switches import NOTE_WORDS, Switches

__all__ = ["NOTE_WORDS", "SCENARIOS", "Sandbox", "Scenario", "Switches"]
