"""SQLite: its one driver, its journal, bulk statements, and types of its own."""
