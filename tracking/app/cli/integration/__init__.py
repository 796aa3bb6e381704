"""Commands about other systems: the tokens of those that ask by the API."""
