"""docs/exports.md against the code: each column of each export and of an archive, its type, and no column besides."""

import pytest
from pages_of_docs import rows

from tracking.orders import model
from tracking.orders.event_chain import Entry
from tracking.reports.exports.columns import Column, Kind
from tracking.reports.exports.writing import EXPORTS
from tracking.reports.logs import contract
from tracking.reports.team import audit, jobs
from tracking.storage.retention import archive_file
from tracking.submissions.results import OUTCOME_COLUMNS

SCHEMAS = {f"## {what.capitalize()}": export.columns for what, export in EXPORTS.items()} | {
    "## Orders of a job": jobs.TOUCHED_COLUMNS,
    "## Audit log": audit.COLUMNS,
    "## Contract": contract.EXPORTED,
}
ARROW_TYPES = {"string": "text", "int64": "whole number", "timestamp[us, tz=UTC]": "time"}


@pytest.mark.parametrize("heading", SCHEMAS)
def test_every_column_of_an_export_is_in_its_table(heading: str) -> None:
    cells = [(row[0].strip("`"), row[1]) for row in rows("docs/exports.md", heading)]
    assert cells == [(column.name, str(column.kind)) for column in SCHEMAS[heading]]


def test_every_column_of_an_outcome_is_in_its_table() -> None:
    assert tuple(row[0].strip("`") for row in rows("docs/exports.md", "## Outcome of an import")) == OUTCOME_COLUMNS


def test_every_type_of_a_column_is_in_the_table() -> None:
    assert [row[0] for row in rows("docs/exports.md", "## How values are written")] == [str(kind) for kind in Kind]
    assert {column.kind for columns in SCHEMAS.values() for column in columns} == set(Kind)


def test_amounts_have_their_currency_beside_them() -> None:
    """But for the cost, whose currency nobody names."""
    for columns in SCHEMAS.values():
        amounts = {column.name for column in columns if column.kind is Kind.AMOUNT} - {"cost"}
        assert not amounts or Column("currency") in columns


def test_every_column_of_an_archive_is_in_its_table() -> None:
    cells = [(row[0].strip("`"), row[1]) for row in rows("docs/exports.md", "## Columns of an archive")]
    assert dict(cells) == {field.name: ARROW_TYPES[str(field.type)] for field in archive_file.schema()}
    assert len(cells) == len(archive_file.schema())


def test_the_records_of_each_column_of_an_archive_are_named() -> None:
    filled = {
        "order": {*model.ORDER_FIELDS, "first_seq", "events", "head"},
        "event": {*Entry._fields, "event_id", "hash"},
        "line": set(archive_file.LINE),
        "call": {"at", "http_status", *archive_file.CALL},
        "webhook": {"received_at", "last_at", "stated_at", *archive_file.WEBHOOK},
    }
    for column, _, records, _ in rows("docs/exports.md", "## Columns of an archive"):
        name = column.strip("`")
        of = [record for record, names in filled.items() if name in names]
        assert records == ("all" if name in {"record", "order_id", "po_number"} else ", ".join(of)), name
