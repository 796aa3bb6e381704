"""What the insights page reports: detection delay, how forecasts fared, and whether both witnesses agree. Bounded."""
