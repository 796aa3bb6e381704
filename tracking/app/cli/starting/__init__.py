"""Commands about a start: check what would keep the console from working, and start it."""
