"""What is read of outgoing webhooks: subscriptions and how they fare, deliveries and their attempts. Bounded reads."""
