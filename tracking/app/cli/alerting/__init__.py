"""Commands about alerts that leave the console: list them, try the services, snooze, and the rules."""
