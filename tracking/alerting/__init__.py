"""Alerts by mail, chat or pager: what is wrong, which service was notified of it, and when it ended."""
