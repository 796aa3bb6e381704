"""The demonstration on the embedded sandbox: a week of made-up history, live traffic, and scenarios to start."""
