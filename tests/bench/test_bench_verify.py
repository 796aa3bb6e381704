"""The harness of `make bench-verify` on a small store: what it repeats is as sound as what was made up."""

import bench_verify
import pytest


def test_the_orders_that_are_repeated_are_found_sound(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_verify, "MADE_UP", 40)
    monkeypatch.setattr(bench_verify, "SECONDS_AT_MOST", 600)  # what is measured is nothing here
    assert bench_verify.main(1_000) == 0
    made, figures = capsys.readouterr().out.splitlines()
    assert int(made.split()[0].replace(",", "")) >= 80
    assert int(figures.split()[0].replace(",", "")) >= 1_000
