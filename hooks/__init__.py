"""The plugin system: how a team adds detectors, policies, trainers, gates, redactors and listeners.

A plugin is a module (or object) whose functions carry :data:`hookimpl`::

    from mlflow_drift.hooks import hookimpl

    @hookimpl
    def register_detectors():
        return [MyDetector()]

It is found by the entry-point group ``mlflow_drift``, by ``plugins = ["our_team.drift_hooks"]`` in
``mlflow-drift.toml``, or by the environment variable ``MLFLOW_DRIFT_PLUGINS``.
"""

from mlflow_drift.hooks.manager import announce, get_manager, parts, reset_manager
from mlflow_drift.hooks.markers import PROJECT, hookimpl, hookspec

__all__ = ["PROJECT", "announce", "get_manager", "hookimpl", "hookspec", "parts", "reset_manager"]
