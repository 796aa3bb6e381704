"""What other systems get from a running process: its parts, made of the settings."""
