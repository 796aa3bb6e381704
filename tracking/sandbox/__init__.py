"""A simulated gift-card provider over HTTP with a database of its own, for demonstrations and tests."""
