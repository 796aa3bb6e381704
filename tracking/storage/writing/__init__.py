"""What the one writer does with the jobs that have gathered: one transaction, cut where one of them fails."""
