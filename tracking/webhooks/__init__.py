"""Webhooks of the provider: verified, stored, then answered."""
