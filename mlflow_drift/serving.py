"""``mlflow-drift serve``: MLflow's own scoring server, with ``/metrics`` and ``/ready`` beside it.

``/invocations``, ``/ping``, ``/health`` and ``/version`` are MLflow's. Each uvicorn worker builds its own
application through :func:`create_app`, from what :func:`serve` leaves in the environment, as MLflow's does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_drift.errors import DriftError, NotFoundError, invalid
from mlflow_drift.models import FLAVOR, download, forget_downloads
from mlflow_drift.recording import keeper
from mlflow_drift.recording.counts import publish, watched
from mlflow_drift.telemetry import exposition, registry_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from mlflow.pyfunc import PyFuncModel
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["build_app", "create_app", "fetch", "serve"]

logger = logging.getLogger(__name__)


def fetch(model_uri: str) -> Path:
    """Return a folder with a model that can be served; an alias names one version from now on.

    Parameters
    ----------
    model_uri : str
        ``models:/churn@champion``, ``models:/churn/3``, ``runs:/…`` or a folder.

    Raises
    ------
    NotFoundError
        If there is no such model.
    UnreachableError
        If the MLflow server does not answer.
    InvalidInputError
        If it has no python function.
    """
    from mlflow.models import Model

    folder = download(model_uri)
    flavors = Model.load(str(folder)).flavors
    if "python_function" not in flavors:
        raise invalid("model_uri", "must name a model with a python function", model_uri, "Log it with one.")
    if FLAVOR not in flavors:
        logger.warning(
            "%s is not drift-aware, so nothing that it serves is recorded. Make it so with "
            "mlflow_drift.attach(%r, reference=X, target=y).",
            *(model_uri, model_uri),
        )
    return folder


def serve(
    folder: Path, *, host: str = "127.0.0.1", port: int = 5000, workers: int = 1, timeout: int | None = None
) -> None:
    """Serve a model until a signal says stop. It runs in this environment; nothing is installed.

    Parameters
    ----------
    folder : Path
        The model's, as :func:`fetch` returns it.
    host, port : str, int
        Address to listen on.
    workers : int
        Processes; each loads the model.
    timeout : int, optional
        Seconds a request may take. Default: ``MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT``, else MLflow's 60.
    """
    import uvicorn
    from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
    from mlflow.pyfunc import scoring_server

    os.environ[scoring_server._SERVER_MODEL_PATH] = str(folder)
    if timeout is not None:
        os.environ[MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name] = str(timeout)
    signal.signal(signal.SIGTERM, _end)
    uvicorn.run(f"{__name__}:create_app", factory=True, host=host, port=port, workers=workers)


def _end(number: int, _: Any) -> None:
    """Die of the signal, as MLflow's server does: uvicorn has shut down in good order and raises it once more."""
    forget_downloads()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def create_app() -> FastAPI:
    """Build a worker's application for the model that :func:`serve` chose."""
    from mlflow.pyfunc import scoring_server

    path = os.environ.get(scoring_server._SERVER_MODEL_PATH)
    if path is None:
        raise NotFoundError("model: none was chosen. Start the server with mlflow-drift serve -m models:/….")
    return build_app(scoring_server.load_model_with_mlflow_config(path))


def build_app(model: PyFuncModel) -> FastAPI:
    """Build MLflow's scoring application for a model, with ``/metrics`` and ``/ready`` added.

    Parameters
    ----------
    model : PyFuncModel
        As ``mlflow.pyfunc.load_model`` returns it.
    """
    from mlflow.pyfunc import scoring_server
    from starlette.routing import Route

    app: FastAPI = scoring_server.init(model)
    app.router.routes += [Route("/metrics", _metrics), Route("/ready", _ready)]
    _stop_with(app)
    return app


# Plain functions: Starlette runs them in a thread of its own, so a slow disk stops no request.
def _metrics(request: Request) -> Response:
    """Answer with the counts of all processes that record the models served here."""
    from starlette.responses import Response

    try:
        registry = registry_of(models=sorted({model for model, _ in watched()}))
    except DriftError as error:  # the settings: nothing is recorded either
        return Response(f"{error}\n", status_code=503, media_type="text/plain")
    publish()
    text, content_type = exposition(registry, request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})


def _ready(request: Request) -> Response:
    """Answer that the model is loaded, since there is no application before it is."""
    from starlette.responses import JSONResponse

    return JSONResponse(
        {
            "status": "ready",
            "recorded": [{"model": name, "version": version or None} for name, version in watched()],
        }
    )


def _stop_with(app: FastAPI) -> None:
    """Seal the spool and write the last counts down when the server shuts down in good order."""
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with inner(application) as state:
            yield state
        keeper.stop()

    app.router.lifespan_context = lifespan
