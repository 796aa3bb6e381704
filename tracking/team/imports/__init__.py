"""Imports: a file's orders from when it is handed in until each of them is an order, or was rejected with a reason."""
