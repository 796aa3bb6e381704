"""Processes: the composition root, the loops, the HTTP endpoints and the command line."""
