"""The database: one writer, many readers, on SQLite or PostgreSQL."""
