"""What a text may be, wherever it was written: numbers, identifiers, recipients, and what spreadsheets do to them."""
