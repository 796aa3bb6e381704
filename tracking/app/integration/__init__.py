"""Outgoing webhooks in a running process: made from the settings, delivered by a loop."""
