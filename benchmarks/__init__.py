"""Measurements; run each as a module from the repository's root."""
