"""Polling: which orders to ask the provider for and when, discovery of others' orders, learning from answers."""
