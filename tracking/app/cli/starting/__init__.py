"""Commands about a start: what there is to check before it, and the console itself."""
