"""What a team leaves in the store: its audit log, jobs over many orders, imports, saved views. Steps of a job."""
