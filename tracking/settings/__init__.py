"""Settings: TRACKING_* from the environment or `.env`, each with its default, its bounds and what it must go with."""
