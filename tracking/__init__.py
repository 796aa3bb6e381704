"""Fulfillment Tracking: follows reward orders from Pending to Completed and keeps the proof of every step."""
