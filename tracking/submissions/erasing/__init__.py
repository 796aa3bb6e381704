"""Parts of an erasure beside the orders' own rows: imports, copies, deliveries, assignments."""
