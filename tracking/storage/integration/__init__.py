"""What is stored for other systems: subscriptions, deliveries, alerts, API tokens and requests."""
