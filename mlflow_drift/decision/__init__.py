"""Policies: from a report to a decision, with the reason."""
