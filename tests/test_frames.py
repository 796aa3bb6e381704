import subprocess
import sys

import pandas as pd

from tracking import frames


def test_pandas_is_there_where_it_is_used() -> None:
    assert frames.pd.DataFrame is pd.DataFrame


def test_a_worker_starts_without_what_it_does_not_use() -> None:
    unused = {"pandas", "pyarrow", "alembic", "psycopg"}
    code = f"import sys, tracking.__main__; print(*sorted({unused} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == ""
