"""Outgoing webhooks: subscriptions of other systems, and deliveries to them: signed, in order, retried."""
