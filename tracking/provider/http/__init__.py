"""One call over HTTP: an httpx Auth for the token, and httpx transports for time, rate, record and errors."""
