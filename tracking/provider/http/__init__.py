"""One call over HTTP: httpx's own seams for the token, the record, the rate limit, the time and size of an answer."""
