"""Care of a store: verify it against its log, copy it, and notice that it was restored from a copy."""
