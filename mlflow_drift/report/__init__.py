"""Pages and pictures made from plain data; knows nothing of the rest of the package."""

from mlflow_drift.report.figures import drift_figure
from mlflow_drift.report.pages import drift_page, story_page

__all__ = ["drift_figure", "drift_page", "story_page"]
