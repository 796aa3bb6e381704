"""What a team's pages read: who works here, what was done to many orders, and what people did. Bounded; no writes."""
