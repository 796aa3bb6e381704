"""What an erasure removes beside orders: the rows of imports that are no orders yet."""
