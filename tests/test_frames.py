import pandas as pd

from tracking import frames


def test_pandas_is_there_where_it_is_used() -> None:
    assert frames.pd.DataFrame is pd.DataFrame
