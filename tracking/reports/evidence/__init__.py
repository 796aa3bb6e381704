"""Evidence: an order with its whole log as one file that is verified elsewhere, without any store."""
