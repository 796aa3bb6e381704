"""What a team decides about orders in settings: promised times, approval limit, low balance. Pure."""
