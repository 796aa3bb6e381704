"""The store's schema, step by step (Alembic). HEAD is the revision this version of the package works with."""

HEAD = "0012"
PAGE = 2000
"""Rows that a step reads at a time where it goes through all of a table."""
