"""What the provider sends us: webhook calls, checked, stored and answered."""
