"""What a process says of itself beside its metrics: its log, and traces of what became of one order."""
