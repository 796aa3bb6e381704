"""Data of an order's page: verdict, timeline, lines, API calls, a text for the customer."""
