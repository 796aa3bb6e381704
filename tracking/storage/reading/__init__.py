"""Time limits of reads, on SQLite and PostgreSQL."""
