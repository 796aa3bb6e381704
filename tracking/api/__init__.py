"""The API for other systems, below /api/v1: orders, events, counts and acts for those who hold a token."""
