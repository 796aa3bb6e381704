"""How reads are kept from taking long: a limit of time for each, on SQLite and PostgreSQL."""
