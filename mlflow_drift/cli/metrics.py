"""``mlflow-drift metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_drift.cli.output import FINE, command, show_json

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["metrics"]


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Serve /metrics on this port until interrupted.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@command
def metrics(port: int | None, host: str, as_json: bool) -> int:
    r"""Print what the recorders of this machine count, in Prometheus' text format, or serve it.

    It covers every process that serves with the same MLFLOW_DRIFT_HOME (or MLFLOW_DRIFT_SPOOL_DIR), such as
    `mlflow models serve`, running or gone.

    \b
    Example:  mlflow-drift metrics
              mlflow-drift metrics --port 9464
    """
    from mlflow_drift.telemetry import exposition, registry_of

    registry = registry_of()
    if port is not None:
        _serve(registry, host, port, as_json)
    elif as_json:
        show_json(
            [
                {"name": sample.name, "labels": sample.labels, "value": sample.value}
                for family in registry.collect()
                for sample in family.samples
            ]
        )
    else:
        click.echo(exposition(registry)[0].decode(), nl=False)
    return FINE


def _serve(registry: CollectorRegistry, host: str, port: int, as_json: bool) -> None:
    from prometheus_client import start_http_server

    from mlflow_drift.errors import invalid

    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise invalid(
            "port", "must be free on this host", f"{host}:{port} ({error})", "Pass another --port."
        ) from error
    url = f"http://{host}:{server.server_port}/metrics"
    if as_json:
        show_json({"url": url})
    else:
        click.echo(f"Serving {url}; stop it with Ctrl-C.")
    try:
        thread.join()
    except KeyboardInterrupt:
        server.shutdown()
