"""Detection beside peers: cost, memory, false alarms and power."""
