"""The demonstration's team: what three people did with the week's orders, and the entries of the audit log about it."""
