"""Made-up orders in bulk: their histories by the live rules, and the rows that ingestion would have written."""
