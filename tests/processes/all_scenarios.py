"""Runs every scenario of the sandbox (or those named) with real processes over HTTP, one after the other.

python tests/processes/all_scenarios.py [--orders 200] [--elsewhere 50] [--speed 20] [--limit 600] [names...]
One line for each, a last one with the figures; exits 1 when console and provider disagree anywhere.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE.parents[1])]

from processes.over_http import SPEED, Figures, drive  # noqa: E402 - found through the lines above

from tracking.sandbox.scenarios import SCENARIOS  # noqa: E402 - the same


def main() -> int:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description="Every scenario over HTTP, with real processes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all, when none is named")
    parser.add_argument("--orders", type=int, default=200, help="orders submitted here")
    parser.add_argument("--elsewhere", type=int, default=50, help="orders placed by other systems")
    parser.add_argument("--speed", type=float, default=SPEED, help="divides the provider's delays")
    parser.add_argument("--limit", type=float, default=600, help="seconds a scenario may take")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    done: list[Figures] = []
    for name in asked.names or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="tracking-scenario-") as folder:
            done.append(_run(Path(folder), name, asked))
        _say(str(done[-1]), *(f"      {problem}" for problem in done[-1].problems[:8]))
    bad = [figures for figures in done if figures.problems]
    _say(
        f"{len(done)} scenarios, {len(done) - len(bad)} agree, {sum(each.orders for each in done)} orders, "
        f"{sum(each.calls for each in done)} calls, {sum(each.webhooks for each in done)} webhooks, "
        f"{sum(each.seconds for each in done):.0f} s, disagreements: "
        f"{', '.join(each.scenario for each in bad) or 'none'}"
    )
    return 1 if bad else 0


def _run(folder: Path, name: str, asked: argparse.Namespace) -> Figures:
    try:
        return drive(folder, name, orders=asked.orders, elsewhere=asked.elsewhere, speed=asked.speed, limit=asked.limit)
    except Exception as exc:  # noqa: BLE001 - one that breaks must not hide what the others show
        return Figures(name, problems=[f"{type(exc).__name__}: {exc}"])


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 - this is a command, its lines are its result


if __name__ == "__main__":
    sys.exit(main())
