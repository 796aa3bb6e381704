"""How long orders take: when to poll, when an order is late, and whether one is late or all are."""
