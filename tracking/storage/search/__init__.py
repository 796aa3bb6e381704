"""Index of the full-text search: the texts of each order, indexed on SQLite and PostgreSQL."""
