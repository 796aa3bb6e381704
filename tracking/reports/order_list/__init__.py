"""Lists of orders: filters, views, pages, the parameters of their addresses, and exports."""
