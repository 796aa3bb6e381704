"""Data of the overview's figures and charts."""
