"""The store's schema, step by step (Alembic). HEAD is the revision this version of the package works with."""

HEAD = "0002"
