"""The demo as a newcomer runs it: real servers, real requests, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_drift.audit import AuditLog

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]
COMMAND = [sys.executable, "-c", "from mlflow_drift.cli import main; main()", "demo", "--offline"]


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    return {**kept, "DEMO_OF": str(folder)}


def left_over(folder: Path) -> list[str]:
    """Return the command lines of living processes that inherited this demo's environment."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if f"DEMO_OF={folder}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_every_step_happens_and_everything_is_stopped(tmp_path):
    folder = tmp_path / "demo"
    result = subprocess.run(
        [*COMMAND, "--json", "--dir", str(folder)],
        capture_output=True,
        text=True,
        env=environment(folder),
        cwd=tmp_path,
        timeout=390,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout)
    assert summary["ok"]
    statuses = [step["status"] for step in summary["steps"]]
    assert statuses.count("refused") == 2
    assert statuses.count("drift") >= 1
    refusals = [step["detail"] for step in summary["steps"] if step["status"] == "refused"]
    for detail in refusals:
        assert detail.startswith("HTTP 409: ")
        assert "mlflow-drift validate synthetic --challenger 3" in detail
    drift = next(step["detail"] for step in summary["steps"] if step["status"] == "drift")
    for part in ("severity", "confidence", "to blame: x", "began at stream row", "a break is known at 14000"):
        assert part in drift

    log = AuditLog(folder / "drift" / "audit.log")
    assert log.verify().ok
    kinds = [entry.kind for entry in log.entries()]
    assert kinds.count("promotion_refused") == 2
    assert kinds.count("model_promoted") == 2
    assert kinds.count("model_rolled_back") == 1
    assert {"window_scanned", "decision_made", "candidate_trained", "verdict_reached"} <= set(kinds)
    for page in ("drift-report.html", "story.html"):
        assert "</html>" in (folder / page).read_text(encoding="utf-8")
    assert left_over(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_stops_the_servers(tmp_path, number):
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [*COMMAND, "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(folder),
        cwd=tmp_path,
    )
    try:
        started = wait_for(lambda: any("--registry-store-uri" in line for line in left_over(folder)), 90)
        assert started, "the demo never started its server"
        demo.send_signal(number)
        demo.wait(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode != 0
    assert wait_for(lambda: left_over(folder) == [], 5), left_over(folder)
