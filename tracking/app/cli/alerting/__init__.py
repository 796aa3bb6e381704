"""Commands about alerts: list them, test the services, snooze, show the rules."""
