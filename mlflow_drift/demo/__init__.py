"""The whole loop, run for real on one machine: ``mlflow-drift demo``."""
