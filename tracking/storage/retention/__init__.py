"""What leaves the store once it is old: logs of finished orders, for which checkpoints stay, and finished jobs."""
