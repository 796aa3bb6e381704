"""Outgoing webhooks for people to read: subscriptions, their health, deliveries and attempts."""
