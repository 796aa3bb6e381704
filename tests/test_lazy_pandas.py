import pandas as pd

from tracking import startup


def test_pandas_is_there_where_it_is_used() -> None:
    assert startup.pd.DataFrame is pd.DataFrame
