"""What a process reports of itself beside its metrics: log, heartbeats, and a trace for each order."""
