"""Backtest: replays the recorded history under other polling plans, API calls against detection delay."""
