"""Commands about other systems: the tokens of those that ask by the API, and webhooks that tell them of events."""
