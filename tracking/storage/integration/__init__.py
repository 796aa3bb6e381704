"""What is kept for other systems: subscriptions, deliveries that wait, alerts, tokens of the API. Steps of a job."""
