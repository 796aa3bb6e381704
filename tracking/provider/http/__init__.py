"""One call over HTTP: its token, its slot within the rate limit, its bounds, its record, and its answer or error."""
