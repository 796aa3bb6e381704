"""What people read: bounded reads for pages, exports and the command line; no writes."""
