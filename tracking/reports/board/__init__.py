"""What the wall board's figures and charts read: how counts moved by hour, bounded by the span that is asked for."""
