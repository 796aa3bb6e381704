"""Outbound webhooks: who subscribed to which events of orders, and their deliveries, signed, in order, retried."""
