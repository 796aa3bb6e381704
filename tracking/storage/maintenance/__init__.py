"""Maintenance of the database: verify it against its log, copy it, detect that it was restored."""
