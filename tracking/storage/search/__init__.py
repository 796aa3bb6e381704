"""What orders are found by, a part of any of it: texts of their own, their index, and the way into it."""
