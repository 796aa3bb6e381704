"""Where everything is kept: one writer, many readers, on SQLite or PostgreSQL."""
