"""Exports: orders, lines, events and deliveries as files for spreadsheets and programs."""
