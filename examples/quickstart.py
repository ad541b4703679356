"""Watch a model, and replace it when drift makes that worth while and provably better. No server needed."""

from __future__ import annotations

import tempfile

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from mlflow_drift import DriftAwareRetrainingPipeline, PipelineConfig
from mlflow_drift.streams import create_synthetic_data_with_drift


def train(model, X, y):
    return LogisticRegression().fit(X, y)


def predict(model, X):
    return model.predict(X)


def metrics(y_true, y_pred):
    return {"accuracy": accuracy_score(y_true, y_pred)}


def gradients(model, X, y):
    """Per-row gradients of the log-likelihood of a logistic regression."""
    residual = (y - model.predict_proba(X)[:, 1]).reshape(-1, 1)
    return {"coef": residual * X, "intercept": residual[:, 0]}


def parameters(model):
    return {"coef": model.coef_[0], "intercept": model.intercept_[0]}


def main(registry_path: str) -> None:
    X, y, drift_point = create_synthetic_data_with_drift(
        n_samples=10_000, drift_type="sudden", random_state=42
    )
    n_train = 3_000
    model = LogisticRegression().fit(X[:n_train], y[:n_train])

    pipeline = DriftAwareRetrainingPipeline(
        PipelineConfig(
            drift_detection_window=1000,
            min_samples_for_retrain=1000,
            enable_rl_policy=False,
            registry_path=registry_path,
        )
    )
    pipeline.set_reference_data(X[:n_train], y[:n_train])

    # Requests come in one by one; every 1,000 rows the newest window is scanned.
    for row in range(n_train, drift_point + 2_000):
        features = X[row]
        prediction = model.predict(features.reshape(1, -1))[0]
        report = pipeline.monitor_prediction(features, prediction, y[row])
        if report is not None:
            low, high = report.severity_interval
            print(
                f"rows up to {row}: {report.verdict.value}, severity {report.severity:.2f} ({low:.2f}-{high:.2f})"
            )

    result = pipeline.execute_full_retraining_cycle(
        current_model=model,
        train_fn=train,
        predict_fn=predict,
        metrics_fn=metrics,
        get_gradients_fn=gradients,
        get_params_fn=parameters,
        validation_data=X[drift_point + 2_000 : drift_point + 4_000],
        validation_labels=y[drift_point + 2_000 : drift_point + 4_000],
    )
    print(f"decision: {result.decision.action.value}. {result.decision.reason}")
    print(f"promoted: {result.promoted}. {result.reason}")

    rest = slice(drift_point + 4_000, None)
    if len(X[rest]):
        for name, each in (("before", model), ("after", result.model)):
            print(f"log-loss {name}: {log_loss(y[rest], each.predict_proba(X[rest])):.3f}")
    print(pipeline.export_metrics())
    print(f"rows monitored: {pipeline.get_pipeline_status()['rows_monitored']:,}")


if __name__ == "__main__":
    np.set_printoptions(precision=3)
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
