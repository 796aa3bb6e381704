"""The demonstration's made-up team: what three people did with the week's orders, audit log included."""
