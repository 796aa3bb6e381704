from pathlib import Path

import pytest

from tracking import files


def test_a_folder_is_made_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "flush_folder", flushed.append)
    files.make_folder(tmp_path / "deep" / "data")
    assert (tmp_path / "deep" / "data").is_dir()
    assert flushed == [tmp_path / "deep", tmp_path]


def test_a_folder_that_exists_is_flushed_too_as_its_maker_may_have_died_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "flush_folder", flushed.append)
    files.make_folder(tmp_path)
    assert flushed == [tmp_path.parent]


def test_a_folder_that_cannot_be_flushed_holds_nobody_up(tmp_path: Path) -> None:
    files.flush_folder(tmp_path)
    files.flush_folder(tmp_path / "missing")
