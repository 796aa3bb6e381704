"""What commands print, where it takes more than a sentence or a table."""
