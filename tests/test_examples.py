from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_quickstart_finds_drift_and_promotes_a_better_model(tmp_path):
    said = run("quickstart.py", tmp_path)
    assert "DRIFT" in said
    assert "promoted: True" in said
    before, after = (float(line.split(":")[1]) for line in said.splitlines() if line.startswith("log-loss"))
    assert after < before
    for metric in ("drift_detection_rate", "retraining_frequency", "rollback_rate", "buffer_utilization"):
        assert metric in said


def test_the_detector_plugin_takes_part(tmp_path):
    said = run("wasserstein_plugin.py", tmp_path)
    assert "wasserstein: p = 0.005, strongest in b" in said
    assert said.strip().endswith("DRIFT")
