"""What others take along: orders, lines, events and deliveries as files, for spreadsheets and programs. Bounded."""
