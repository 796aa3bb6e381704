"""What is stored of a team's work: audit log, approval rule, rows of imports, snoozes, tables of jobs."""
