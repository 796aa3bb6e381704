"""The command line: `tracking ...`."""
