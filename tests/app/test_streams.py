"""`-` in place of a file: stdin and stdout, with the answer for people on stderr."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tracking.app.cli.main import app
from tracking.storage.database import connect

ROWS = "PONumber,Type,ProductId,Value,Quantity,ExternalId\na,Links,CVS,10,1,x\nb,Links,CVS,25,2,y\n"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'tracking.db')}"
    monkeypatch.setenv("TRACKING_DATABASE_URL", url)

    def call(*arguments: str, given: str | bytes = "", code: int = 0) -> Result:
        result = CliRunner().invoke(app, arguments, input=given)
        assert result.exit_code == code, result.output
        return result

    yield call
    connect(url).close()


def test_a_file_comes_from_stdin_and_leaves_by_stdout(run: Run, tmp_path: Path) -> None:
    assert "2 orders" in run("submit", "-", given=ROWS).stdout
    document = {"PONumber": "c", "Type": "Links", "LineItems": [{"ProductId": "CVS", "Value": 5, "Quantity": 1}]}
    assert (
        json.loads(run("submit", "-", "--json", given=f"\ufeff {json.dumps([document])}").stdout)[0]["po_number"] == "c"
    )
    exported = run("export", "-")
    assert set(pd.read_csv(io.BytesIO(exported.stdout_bytes), encoding="utf-8-sig")["po_number"]) == {"a", "b", "c"}
    assert exported.stderr.endswith("3 orders written to stdout\n")
    lines = run("export", "-", "--format", "jsonl", "--json").stdout.splitlines()
    assert {json.loads(line)["po_number"] for line in lines} == {"a", "b", "c"}
    assert len(pd.read_parquet(io.BytesIO(run("export", "-", "--format", "parquet").stdout_bytes))) == 3
    assert run("imports", "1", "--export", "-").stdout_bytes.count(b"\n") == 3
    evidence = run("evidence", "a", "-o", "-")
    assert "manifest.json" in zipfile.ZipFile(io.BytesIO(evidence.stdout_bytes)).namelist()
    assert "HOLDS in itself" in run("verify-evidence", "-", given=evidence.stdout_bytes).stdout
    assert not (tmp_path / "-").exists()


def test_a_format_that_the_name_or_the_command_does_not_have_is_told(run: Run) -> None:
    assert "use one of: csv, parquet, jsonl" in run("export", "-", "--format", "xlsx", code=2).stderr
    assert "the file name must end in .csv" in run("export", "x.csv", "--format", "jsonl", code=2).stderr
    assert "cannot be verified" in run("verify-evidence", "-", given="no", code=2).stdout


def test_a_reader_who_leaves_early_ends_the_command_without_a_trace(run: Run) -> None:
    run("submit", "-", given=ROWS)
    command = f"{sys.executable} -m tracking export - --format csv | true"
    done = subprocess.run(["bash", "-c", f"sleep 0.1 | {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no file that is always full")
@pytest.mark.parametrize("arguments", [["orders", "--json"], ["tokens", "list"], ["--help"]])
def test_a_disk_that_is_full_is_said_where_the_answer_should_go(run: Run, arguments: list[str]) -> None:
    run("submit", "-", given=ROWS)
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tracking", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("what this command prints cannot be written (No space left on device)\n")
    assert "Traceback" not in done.stderr
