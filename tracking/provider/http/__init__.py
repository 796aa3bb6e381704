"""One HTTP call: token, slot within the rate limit, size and time limits, record, answer or error."""
