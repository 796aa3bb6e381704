"""As of: an order and the overview's counts as they were known at a moment, from the log; bounded reads."""
