"""Who calls the API: tokens, rate limits, allowed origins, and what each token read, for the audit log."""
