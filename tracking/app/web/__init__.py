"""The HTTP edges: who may reach the pages, their headers and downloads, limits of connections, /metrics."""
