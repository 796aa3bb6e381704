"""docs/tables.md against the code: every table, every column, its type, whether it may be null, and none besides."""

import pytest
import sqlalchemy as sa
from pages_of_docs import PAGES, rows
from sqlmodel import SQLModel

from tracking.storage.integration.tables import DELIVERIES
from tracking.storage.retention.tables import ARCHIVES
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.tables import ORDERS
from tracking.storage.team.tables import JOBS

# What brings every table of the package.
TABLES = {
    **SQLModel.metadata.tables,
    **{each.name: each for each in (ORDERS, DELIVERIES, ARCHIVES, SEARCH_TEXTS, JOBS)},
}
TYPES = {
    sa.String: "text",
    sa.Integer: "whole number",
    sa.DateTime: "time",
    sa.Boolean: "true or false",
    sa.JSON: "JSON",
}
PAGE = "docs/tables.md"


def type_of(column: sa.Column[object]) -> str:
    kind = getattr(column.type, "impl_instance", column.type)
    return next(text for each, text in TYPES.items() if isinstance(kind, each))


def test_every_table_is_listed_once_with_what_it_is() -> None:
    listed = [(row[0].partition("`]")[0].strip("[`"), row[1]) for row in rows(PAGE, "## Tables")]
    assert sorted(name for name, _ in listed) == sorted(TABLES)
    assert {how for _, how in listed} == {"**stable**", "internal"}
    assert PAGES[PAGE].count("\n### ") == len(TABLES)


def test_every_type_is_explained() -> None:
    assert [row[0] for row in rows(PAGE, "## How values are stored")] == list(TYPES.values())


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_column_of_a_table_is_described(table: str) -> None:
    said = [(row[0].strip("`"), *row[1:3]) for row in rows(PAGE, f"### `{table}`")]
    assert said == [
        (column.name, type_of(column), "yes" if column.nullable else "no") for column in TABLES[table].columns
    ]
    assert all(row[3] for row in rows(PAGE, f"### `{table}`"))


def test_the_models_are_what_a_migrated_database_has(migrated_file: object) -> None:
    """The page speaks of the database: the revisions make these tables and columns."""
    engine = sa.create_engine(f"sqlite:///{migrated_file}")
    found = sa.inspect(engine)
    for name, table in TABLES.items():
        columns = {each["name"]: each["nullable"] for each in found.get_columns(name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, name
    others = {name for name in found.get_table_names() if not name.startswith("search_index")} - set(TABLES)
    engine.dispose()
    assert others == {"alembic_version"}
