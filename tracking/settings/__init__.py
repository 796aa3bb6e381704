"""Settings: TRACKING_* variables from the environment or `.env`, with defaults and bounds, checked together."""
