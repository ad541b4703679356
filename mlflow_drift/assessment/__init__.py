"""From Evidence to a DriftReport: how bad, which features, since when."""
