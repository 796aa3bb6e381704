"""What only a real browser shows: a package, so that its tests can share one that is closed behind the last of them."""
