from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_quickstart_finds_drift_and_promotes_a_better_model(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    said = result.stdout
    assert "DRIFT" in said
    assert "promoted: True" in said
    before, after = (float(line.split(":")[1]) for line in said.splitlines() if line.startswith("log-loss"))
    assert after < before
    for metric in ("drift_detection_rate", "retraining_frequency", "rollback_rate", "buffer_utilization"):
        assert metric in said


def test_the_detector_plugin_takes_part(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "wasserstein_plugin.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "wasserstein: p = 0.005, strongest in b" in result.stdout
    assert result.stdout.strip().endswith("DRIFT")
