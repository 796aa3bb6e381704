"""What a team sets for its orders: by when they are promised, and above which value a second person approves. Pure."""
