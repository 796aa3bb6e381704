"""What we ask the provider: which orders to poll and when, orders placed elsewhere, what answers teach."""
