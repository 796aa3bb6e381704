"""What an order is, and what an observation means for it. Pure: the standard library only."""
