"""A client that has MLflow but not this plugin: what everybody else's process looks like to the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from mlflow_drift.errors import DriftError

__all__ = ["environment_without_plugin", "set_alias_as_stranger"]

SCRIPT = """
import importlib.util, json, sys
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
uri, name, alias, version = sys.argv[1:]
answer = {"plugin_installed": importlib.util.find_spec("mlflow_drift") is not None, "status": 200, "reason": ""}
try:
    MlflowClient(tracking_uri=uri, registry_uri=uri).set_registered_model_alias(name, alias, version)
except MlflowException as error:
    answer |= {"status": error.get_http_status_code(), "reason": error.message}
print(json.dumps(answer))
"""


def environment_without_plugin(folder: Path) -> Path:
    """Link everything installed here, but this plugin, into a folder that can serve as PYTHONPATH."""
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            link = folder / entry.name
            if "mlflow_drift" not in entry.name and not link.exists():
                link.symlink_to(entry)
    return folder


def set_alias_as_stranger(uri: str, name: str, alias: str, version: str) -> dict[str, Any]:
    """Try to set an alias with a plain ``MlflowClient`` in a process where this plugin is not installed.

    Parameters
    ----------
    uri : str
        The MLflow server.
    name, alias, version : str
        What to set.

    Returns
    -------
    dict
        plugin_installed (False), status (the HTTP status), reason (the server's message).

    Raises
    ------
    DriftError
        If the process could not run.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW"))}
    with tempfile.TemporaryDirectory() as folder:
        packages = environment_without_plugin(Path(folder))
        # -S leaves site-packages out, and with them the link an editable install adds to the path.
        result = subprocess.run(
            [sys.executable, "-S", "-c", SCRIPT, uri, name, alias, version],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(packages), "MLFLOW_DISABLE_TELEMETRY": "true"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if result.returncode != 0:
        raise DriftError(f"The plain client could not run: {result.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return answer
