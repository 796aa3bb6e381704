"""Checks before a start: settings, database, secrets, provider, webhook address, console. They change nothing."""
