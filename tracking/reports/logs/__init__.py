"""Data of the page Logs beside its lists: volumes over time, one API call in full, the contract log."""
