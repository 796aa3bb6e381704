"""How long orders take, and so when to poll, what is late, and whether one order is late or everyone is."""
