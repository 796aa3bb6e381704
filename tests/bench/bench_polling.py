"""Judges how looks are planned: against the optimum, against doubling, with list pages, and by what planning costs.

    make bench-polling

Last comes a running console, for four minutes that are mostly idle: what it does is held against what the replay says.
Prints one table (measure, reached, to reach) and one last line with all figures; exits 1 where a row is missed. The
seeds are fixed, so that only the rows about time, memory and the running console differ between runs.
"""

import sys
from pathlib import Path
from time import process_time

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE.parents[1])]

from measures import MEASURES  # noqa: E402 - found through the line above


def main() -> int:
    """0 where all rows hold."""
    began = process_time()
    rows = []
    print(f"{'measure':<66} {'reached':>8}  {'to reach':>12}")
    for measure in MEASURES:
        for row in measure():
            missed = "" if row.holds else "  MISSED"
            print(f"{row.measure:<66} {row.reached:>8.3f}  {row.wanted:>12}{missed}", flush=True)
            rows.append(row)
    figures = ", ".join(f"{row.short} {row.reached:.3g}" for row in rows)
    print(f"bench-polling: {figures}; {process_time() - began:.0f} s of the processor")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
