"""The recorded history replayed under other polling plans: API calls against detection delay."""
