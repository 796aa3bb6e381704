"""Lists of orders: filters with their addresses, views with their counts, pages, and what changed since."""
