"""Training challengers on recorded rows without forgetting the past."""
