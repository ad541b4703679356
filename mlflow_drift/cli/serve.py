"""``mlflow-drift serve``."""

from __future__ import annotations

import click

from mlflow_drift.cli.output import FINE, command, show_json

__all__ = ["serve"]


@click.command()
@click.option("-m", "--model-uri", required=True, metavar="URI", help="E.g. models:/churn@champion.")
@click.option(
    "-p", "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to listen on."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("-w", "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "-t", "--timeout", type=click.IntRange(1), help="Seconds a request may take [default: MLflow's]."
)
@command
def serve(model_uri: str, port: int, host: str, workers: int, timeout: int | None, as_json: bool) -> int:
    r"""Serve a model as `mlflow models serve` does, with /metrics and /ready beside /invocations.

    It runs in this environment: nothing is installed, no other environment is made.

    \b
    Example:  mlflow-drift serve -m models:/churn@champion -p 5001 --workers 2
    """
    from mlflow_drift.serving import fetch
    from mlflow_drift.serving import serve as run

    folder = fetch(model_uri)
    if as_json:
        show_json({"url": f"http://{host}:{port}", "model_uri": model_uri, "workers": workers})
    run(folder, host=host, port=port, workers=workers, timeout=timeout)
    return FINE
