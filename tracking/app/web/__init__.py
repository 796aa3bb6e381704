"""The HTTP edges: access to the pages, security headers, connection limits, health and metrics."""
