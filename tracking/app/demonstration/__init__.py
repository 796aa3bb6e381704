"""The demonstration on the embedded sandbox: a past that was followed, traffic of ours, and scenarios to be shown."""
