"""Commands about the team's work: its audit log, and the handover to the next shift."""
