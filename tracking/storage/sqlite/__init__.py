"""How SQLite is used: the one driver of the process, and the journal it keeps."""
