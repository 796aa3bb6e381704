"""As of: an order, and the overview's counts, as they were known at an earlier moment."""
