"""How a team works: who does what, acts on many orders, imports, approvals, saved views, drills, and the handover."""
