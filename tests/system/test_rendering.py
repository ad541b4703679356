"""A real browser draws the pages: light, dark and narrow, and nothing comes from elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlflow_drift
from mlflow_drift.report import story_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(BROWSER is None, reason="no chromium here; apt-get install chromium"),
]
DARK = "--blink-settings=preferredColorScheme=0"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(2000, 4)), rng.normal(size=(1000, 4))
    current[400:, 0] += 2
    return mlflow_drift.detect(reference, current).to_dict()


def screenshot(html: str, folder: Path, *, width: int = 1000, dark: bool = False) -> np.ndarray[Any, Any]:
    """Return the page as drawn: height by width by colour, each from 0 to 1."""
    from matplotlib.image import imread

    page, picture = folder / "page.html", folder / "page.png"
    page.write_text(html, encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1400",
        f"--screenshot={picture}", *([DARK] if dark else []), page.as_uri(),
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as browser:
        try:
            assert browser.wait(timeout=90) == 0
        finally:
            if browser.poll() is None:
                os.killpg(browser.pid, signal.SIGKILL)
    return np.asarray(imread(picture))[..., :3]


def colours(picture: np.ndarray[Any, Any]) -> int:
    return len(np.unique((picture * 255).round().astype(int).reshape(-1, 3), axis=0))


def story(report: dict[str, Any]) -> str:
    steps = [{"name": "Scan", "status": "drift", "detail": "found", "seconds": 1.0}]
    return story_page("One loop", steps, {"MLflow": "http://127.0.0.1:5000"}, report)


@pytest.mark.parametrize("kind", ["drift", "story"])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_drawn(kind: str, dark: bool, report: dict[str, Any], tmp_path: Path) -> None:
    from mlflow_drift.report import drift_page

    html = drift_page(report) if kind == "drift" else story(report)
    picture = screenshot(html, tmp_path, dark=dark)
    assert colours(picture) > 100, "blank or nearly so"
    background = float(picture[5, 5].mean())
    assert background < 0.2 if dark else background > 0.9
    ink = np.abs(picture - picture[5, 5]).max(axis=2) > 0.2
    assert ink.mean() > 0.01, "hardly anything was drawn"
    assert ink[:400].any()
    assert ink[700:].any()


def test_a_phone_sees_all_of_the_cards(report: dict[str, Any], tmp_path: Path) -> None:
    from mlflow_drift.report import drift_page

    picture = screenshot(drift_page(report), tmp_path, width=500)
    right_edge = picture[:, -6:]
    assert float(np.abs(right_edge - picture[5, 5]).max()) < 0.05, "something sticks out on the right"
