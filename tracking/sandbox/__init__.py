"""A simulated gift-card provider over HTTP that remembers in a file of its own: for demonstrations and tests."""
