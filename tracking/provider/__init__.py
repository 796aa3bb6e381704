"""The provider's API: calls, answers, rate limits. Only this room calls it and knows its JSON."""
