"""How the provider's API is called and its answers are read. Nothing else calls it."""
