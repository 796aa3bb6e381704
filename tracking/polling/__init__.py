"""What we ask the provider: which orders are due, which calls are worth making, and their answers."""
