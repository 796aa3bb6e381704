"""Evidence: one order with its whole log as a file, verified elsewhere without a database."""
