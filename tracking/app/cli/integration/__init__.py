"""Commands about other systems: API tokens and outgoing webhooks."""
