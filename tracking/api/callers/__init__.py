"""Who asks the API: tokens, how often each may ask, and what it read, for the audit log."""
