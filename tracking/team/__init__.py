"""Work of a team: assignments, acts on many orders, imports, approvals, saved views, fire drills."""
