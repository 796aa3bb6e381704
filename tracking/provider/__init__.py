"""How the provider's API is spoken to and read: the only room that uses httpx."""
