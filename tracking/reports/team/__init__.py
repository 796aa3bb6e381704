"""Data of the team's pages: jobs, imports, audit log, handover, drills, saved views."""
