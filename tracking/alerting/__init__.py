"""Alerts that leave the console: which trouble there is, who is notified of it by which service, and when it ended."""
