"""The command line, ``mlflow-drift``: one module a command.

Exit codes: 0 fine, 1 drift or a refusal, 2 misuse. The modules import the package inside their functions, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import os

import click

from mlflow_drift import __version__
from mlflow_drift.cli.attach import attach
from mlflow_drift.cli.audit import audit
from mlflow_drift.cli.demo import demo
from mlflow_drift.cli.detect import detect
from mlflow_drift.cli.house import compact, erase, expire
from mlflow_drift.cli.metrics import metrics
from mlflow_drift.cli.outcomes import outcomes
from mlflow_drift.cli.promote import promote, rollback
from mlflow_drift.cli.run import run
from mlflow_drift.cli.scan import scan
from mlflow_drift.cli.serve import serve
from mlflow_drift.cli.ship import ship
from mlflow_drift.cli.status import status
from mlflow_drift.cli.validate import validate

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlflow-drift")
@click.option("--tracking-uri", metavar="URI", help="MLflow tracking server [default: $MLFLOW_TRACKING_URI].")
@click.option(
    "--registry-uri", metavar="URI", help="Model registry, if another [default: $MLFLOW_REGISTRY_URI]."
)
def main(tracking_uri: str | None, registry_uri: str | None) -> None:
    r"""Close the loop from drift to a safe new model, on MLflow.

    \b
    Start here:  mlflow-drift demo
    Day to day:  mlflow-drift scan churn
                 mlflow-drift run churn
    """
    # MLflow prints both to standard output, which belongs to us and, with --json, to a parser.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    if registry_uri:
        os.environ["MLFLOW_REGISTRY_URI"] = registry_uri


_COMMANDS = (
    *(demo, detect, attach, serve, scan, run, outcomes, validate, promote, rollback, status, metrics),
    *(ship, compact, expire, erase, audit),
)
for command in _COMMANDS:
    main.add_command(command)
