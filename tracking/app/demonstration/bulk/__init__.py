"""Made-up orders in bulk: their histories by the live rules, and the rows that live ingestion leaves of such."""
