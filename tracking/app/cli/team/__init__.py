"""Commands about what a team does: its audit log, and what is handed on to the next shift."""
