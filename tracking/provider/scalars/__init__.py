"""Scalars of foreign JSON: numbers, amounts of money and times, however a system writes them. Pure."""
