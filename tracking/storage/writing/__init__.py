"""How changes are written: items of many callers gathered into jobs, and jobs into transactions of the one writer."""
