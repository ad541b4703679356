"""The demo's steps, in order."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import requests
from mlflow.utils.logging_utils import disable_logging, enable_logging
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlflow_drift
from mlflow_drift.audit import AuditLog
from mlflow_drift.config import PipelineConfig, Settings
from mlflow_drift.demo.data import Stream, open_stream
from mlflow_drift.demo.processes import Process, free_port, mlflow_command
from mlflow_drift.demo.story import Story
from mlflow_drift.demo.stranger import set_alias_as_stranger
from mlflow_drift.errors import DriftError
from mlflow_drift.hooks import reset_manager
from mlflow_drift.loop.retraining import retrain
from mlflow_drift.loop.running import decide
from mlflow_drift.recording import row_ids
from mlflow_drift.report import story_page
from mlflow_drift.values import Action, Candidate, Decision, DriftReport, Outcome, Promotion, Verdict

__all__ = ["run_demo"]

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BATCH = 48
"""Rows a request: one day of half-hours."""
WINDOW = 3_000
"""Rows a scan compares."""
LABEL_LAG = 2
"""Labels arrive so many requests late."""


def run_demo(
    *, folder: Path | None = None, keep: bool = False, offline: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Run the whole loop and return what happened.

    Parameters
    ----------
    folder : Path, optional
        Where everything is written; ``demo-run/<time>`` in the working folder by default.
    keep : bool
        Leave the servers up until Ctrl-C.
    offline : bool
        Do not ask OpenML for data.
    quiet : bool
        Show nothing while it happens.
    """
    folder = (
        folder or Path("demo-run") / f"{dt.datetime.now(dt.timezone.utc):%Y%m%d-%H%M%S}-{os.getpid()}"
    ).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DriftError(
            f"--dir: must be a folder that can be written; got {str(folder)!r} ({error}). Choose another."
        ) from error
    if any(folder.iterdir()):
        raise DriftError(
            f"--dir: must be an empty folder; got {str(folder)!r}, which holds files. Choose another."
        )
    story = Story(quiet=quiet)
    with ExitStack() as stack:
        interrupts = _Interrupts()
        stack.enter_context(interrupts.watched())
        demo = _Demo(folder, story, stack, interrupts, open_stream(Settings.load(), offline=offline))
        try:
            demo.run()
        except KeyboardInterrupt:
            story.console.print("Interrupted; stopping the servers …")
            raise
        links = demo.links()
        page = story_page(
            "mlflow-drift demo", [step.as_dict() for step in story.steps], links, demo.drift_report.to_dict()
        )
        (folder / "story.html").write_text(page, encoding="utf-8")
        links["Story"] = str(folder / "story.html")
        story.show_table(links)
        if keep:
            _wait_for_interrupt(story, demo)
    return {
        "ok": all(step.status != "failed" for step in story.steps),
        "steps": [step.as_dict() for step in story.steps],
        "links": links,
    }


class _Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a KeyboardInterrupt, and ignores the rest.

    So nothing interrupts the cleaning up. Within :meth:`deferred` the interrupt waits: a process is never
    started without being noted for stopping.
    """

    def __init__(self) -> None:
        self._waiting = self._seen = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._interrupt) for each in WATCHED}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        first, self._seen = not self._seen, True
        if first and not self._waiting:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        before, self._waiting = self._seen, True
        try:
            yield
        finally:
            self._waiting = False
        if self._seen and not before:
            raise KeyboardInterrupt


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    reset_manager()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        reset_manager()


def _wait_for_interrupt(story: Story, demo: _Demo) -> None:
    story.console.print(
        f"The servers stay up: MLflow at {demo.server_uri}, the model at {demo.model_uri}. Ctrl-C ends them."
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        story.console.print("Stopping the servers …")


class _Demo:
    """What the steps share."""

    drift_report: DriftReport
    decision: Decision
    candidate: Candidate
    bad_version: str

    def __init__(
        self, folder: Path, story: Story, stack: ExitStack, interrupts: _Interrupts, stream: Stream
    ) -> None:
        self.folder, self.story, self.stack, self.stream = folder, story, stack, stream
        self.interrupts = interrupts
        self.name = stream.name
        self.server_uri = f"http://127.0.0.1:{free_port()}"
        self.model_uri = f"http://127.0.0.1:{free_port()}"
        self.sent = stream.start
        self.requests: list[int] = []
        self.labelled = 0
        self.environment = {
            "MLFLOW_DRIFT_HOME": str(folder / "drift"),
            "MLFLOW_TRACKING_URI": self.server_uri,
            "MLFLOW_REGISTRY_URI": self.server_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }
        stack.enter_context(_environment(self.environment))
        stack.enter_context(_mlflow_client(self.server_uri))

    def run(self) -> None:
        self.story.console.print(f"Stream: {self.stream.origin}", markup=False)
        self.start_server()
        self.train_champion()
        self.serve()
        self.replay_until_drift()
        self.retrain()
        self.refuse_bad_challenger()
        self.promote_good_challenger()
        self.roll_back()
        self.verify_audit()

    def start_server(self) -> None:
        with self.story.step("Start an MLflow server whose registry has the gate") as step:
            database = f"sqlite:///{self.folder / 'mlflow.db'}"
            port = self.server_uri.rsplit(":", 1)[1]
            command = mlflow_command(
                *("server", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
                *("--backend-store-uri", database, "--registry-store-uri", f"drift:{database}"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            )
            self._start("MLflow server", command, "server.log", f"{self.server_uri}/health")
            step.detail = f"{self.server_uri}, --registry-store-uri drift:sqlite:///mlflow.db"

    def train_champion(self) -> None:
        with self.story.step("Train the champion and log it with its reference") as step:
            rows = slice(0, self.stream.n_train)
            features, labels = self.stream.features.iloc[rows], self.stream.labels.iloc[rows]
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
            mlflow.set_experiment(self.name)
            info = mlflow_drift.log_model(
                model, reference=features, target=labels, registered_model_name=self.name
            )
            mlflow_drift.promote(self.name, str(info.registered_model_version), bootstrap=True)
            step.detail = (
                f"logistic regression on rows 0-{self.stream.n_train - 1}, accuracy there "
                f"{model.score(features, labels):.3f}; version {info.registered_model_version} is champion"
            )

    def serve(self) -> None:
        with self.story.step("Serve it with stock `mlflow models serve`") as step:
            command = mlflow_command(
                *("models", "serve", "-m", f"models:/{self.name}@champion", "--env-manager", "local"),
                *("--host", "127.0.0.1", "--port", self.model_uri.rsplit(":", 1)[1]),
            )
            self._start("Model server", command, "serving.log", f"{self.model_uri}/ping")
            step.detail = f"models:/{self.name}@champion at {self.model_uri}"

    def _start(self, name: str, command: list[str], log: str, url: str) -> None:
        with self.interrupts.deferred():
            process = Process(name, command, self.folder / log, self.environment)
            self.stack.callback(process.stop)
        process.wait_until_up(url)

    def replay_until_drift(self) -> None:
        last = len(self.stream.features) - WINDOW
        while self.sent + WINDOW <= last:
            self._replay(WINDOW)
            self._scan()
            if self.drift_report.drift_detected and self._decide().action is not Action.NO_RETRAIN:
                return
        raise DriftError("demo: the stream ended before the policy decided to retrain. Try another stream.")

    def _replay(self, n_rows: int) -> None:
        first = self.sent
        with self.story.step(f"Replay rows {first}-{first + n_rows - 1} over HTTP", spinner=False) as step:
            correct = 0
            n_requests = -(-n_rows // BATCH)
            for _ in self.story.progress("requests", n_requests):
                stop = min(self.sent + BATCH, first + n_rows)
                correct += self._request(self.sent, stop)
                self.requests.append(self.sent)
                self.sent = stop
            self._log_labels(first + n_rows)
            step.detail = (
                f"{n_requests} requests, accuracy {correct / n_rows:.3f}; "
                f"labels of all but the newest {LABEL_LAG} requests have arrived"
            )
            step.facts["accuracy"] = correct / n_rows

    def _request(self, start: int, stop: int) -> int:
        """Ask the served model about some rows, and return how many answers are right."""
        rows = self.stream.features.iloc[start:stop]
        body = {
            "dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy().tolist()},
            "params": {"request_id": f"row-{start}"},
        }
        response = requests.post(f"{self.model_uri}/invocations", json=body, timeout=30)
        if response.status_code != requests.codes.ok:
            raise DriftError(f"demo: the model server answered {response.status_code}: {response.text[:500]}")
        answers = np.asarray(response.json()["predictions"])
        return int(np.sum(answers == self.stream.labels.iloc[start:stop].to_numpy()))

    def _log_labels(self, stop: int) -> None:
        """Log the labels that have arrived by now: all but those of the newest requests."""
        ready = self.requests[self.labelled : len(self.requests) - LABEL_LAG]
        ids: list[str] = []
        labels: list[Any] = []
        ends = [*self.requests[1:], stop]
        for i, start in enumerate(ready, start=self.labelled):
            ids += row_ids(f"row-{start}", ends[i] - start)
            labels += self.stream.labels.iloc[start : ends[i]].tolist()
        mlflow_drift.log_outcomes(self.name, ids, labels)
        self.labelled += len(ready)

    def _scan(self) -> None:
        with self.story.step(f"Scan the newest {WINDOW} recorded rows") as step:
            report = mlflow_drift.scan(self.name, rows=WINDOW)
            self.drift_report = report
            low, high = report.severity_interval
            step.detail = (
                f"{report.verdict.value}: p = {report.p_value:.4f}, severity {report.severity:.2f} "
                f"({low:.2f}-{high:.2f}), confidence {report.confidence:.2f}"
            )
            if report.drift_detected:
                step.status = "drift"
                step.detail += f"; to blame: {', '.join(report.drifting_features())}; {self._onset(report)}"

    def _onset(self, report: DriftReport) -> str:
        if report.onset is None:
            return "onset unknown"
        first = self.sent - report.n_current
        found = (
            f"began at stream row {first + report.onset.row} "
            f"({report.onset.coverage:.0%} set {first + report.onset.low}-{first + report.onset.high})"
        )
        known = self.stream.known_drift
        return f"{found}; a break is known at {known}" if known and first <= known < self.sent else found

    def _decide(self) -> Decision:
        with self.story.step("Ask the policy") as step:
            self.decision = decide(self.name, self.drift_report, PipelineConfig(min_samples_for_retrain=500))
            step.detail = f"{self.decision.action.value}. {self.decision.reason}"
            return self.decision

    def retrain(self) -> None:
        with self.story.step("Retrain a challenger on the recorded, labelled requests") as step:
            self.candidate = retrain(self.name, self.decision, self.drift_report)
            replayed = int(self.candidate.metrics["replayed_rows"])
            step.detail = (
                f"version {self.candidate.version}: {self.candidate.n_rows - replayed} recorded rows "
                f"and {replayed} replayed from the champion's reference"
            )
        with self.story.step("Train a deliberately bad challenger, on shuffled labels") as step:
            self.bad_version = self._train_bad()
            step.detail = f"version {self.bad_version}"
        self._replay(WINDOW)

    def _train_bad(self) -> str:
        rows = slice(self.sent - WINDOW, self.sent)
        features = self.stream.features.iloc[rows]
        labels = pd.Series(np.random.default_rng(0).permutation(self.stream.labels.iloc[rows].to_numpy()))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
        info = mlflow_drift.log_model(
            model,
            reference=features,
            target=labels,
            registered_model_name=self.name,
            trained_until=self.candidate.trained_until.isoformat() if self.candidate.trained_until else None,
        )
        return str(info.registered_model_version)

    def refuse_bad_challenger(self) -> None:
        with self.story.step("Validate the bad challenger") as step:
            verdict = self._validate(self.bad_version)
            step.detail = _sentence(verdict)
        with self.story.step("Promote it over REST all the same") as step:
            body = {"name": self.name, "alias": "champion", "version": self.bad_version}
            answer = requests.post(
                f"{self.server_uri}/api/2.0/mlflow/registered-models/alias", json=body, timeout=60
            )
            _expect_refusal(answer.status_code)
            step.status, step.detail = "refused", f"HTTP {answer.status_code}: {answer.json()['message']}"
        with self.story.step(
            "Promote it with a plain MlflowClient, in a process without this plugin"
        ) as step:
            stranger = set_alias_as_stranger(self.server_uri, self.name, "champion", self.bad_version)
            _expect_refusal(stranger["status"])
            if stranger["plugin_installed"]:
                raise DriftError("demo: the plain client's process has the plugin after all.")
            step.status, step.detail = "refused", f"HTTP {stranger['status']}: {stranger['reason']}"

    def promote_good_challenger(self) -> None:
        version = self.candidate.version
        assert version is not None
        with self.story.step("Validate the good challenger on requests it was not trained on") as step:
            verdict = self._validate(version)
            step.detail = _sentence(verdict)
            if verdict.outcome is not Outcome.PASS:
                raise DriftError(f"demo: the good challenger did not pass: {_sentence(verdict)}")
        with self.story.step("Promote it") as step:
            promotion = mlflow_drift.promote(self.name, version)
            step.detail = (
                f"version {promotion.version} is champion, after version {promotion.previous_version}"
            )

    def _validate(self, version: str) -> Verdict:
        return mlflow_drift.validate(self.name, version)

    def roll_back(self) -> None:
        with self.story.step("Roll back") as step:
            promotion: Promotion = mlflow_drift.rollback(self.name, reason="shown by the demo")
            step.detail = f"version {promotion.version} is champion again"

    def verify_audit(self) -> None:
        with self.story.step("Verify the audit log") as step:
            check = AuditLog(Settings.load().audit_path).verify()
            if not check.ok:
                raise DriftError(f"demo: the audit log does not verify: {check.problem}")
            step.detail = f"{check.entries} entries, every byte as it was written"

    def links(self) -> dict[str, str]:
        """Write the drift report, and say where everything is."""
        self.drift_report.to_html(self.folder / "drift-report.html")
        database = f"sqlite:///{self.folder / 'mlflow.db'}"
        return {
            "Drift report": str(self.folder / "drift-report.html"),
            "Audit log": str(Settings.load().audit_path),
            "MLflow UI": f"{self.server_uri} while it is up (--keep); later: mlflow server "
            f"--backend-store-uri {database} --registry-store-uri drift:{database} "
            f"--artifacts-destination {self.folder / 'artifacts'}",
        }


@contextmanager
def _mlflow_client(uri: str) -> Iterator[None]:
    """Point MLflow's client at a server without its own running commentary, and back."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    disable_logging()
    try:
        yield
    finally:
        enable_logging()
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def _sentence(verdict: Verdict) -> str:
    return f"{verdict.outcome.value} on {verdict.n_samples} rows. {' '.join(verdict.reasons)}"


def _expect_refusal(status: int) -> None:
    if status != requests.codes.conflict:
        raise DriftError(f"demo: the server should have refused with 409; it answered {status}.")
