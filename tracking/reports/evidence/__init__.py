"""Evidence: an order with its whole log as one file that proves itself elsewhere, without any store."""
