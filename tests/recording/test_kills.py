from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

SCRIPT = Path(__file__).with_name("kills.py")


def test_twenty_kills_lose_repeat_and_change_nothing(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--kills", "20", "--seed", "1", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(figures.read_text())
    assert found["kills"] == {"worker": 10, "shipper": 7, "helper": 2, "server": 1}
    assert found["acknowledged"] > 100
    assert found["rows"] > found["acknowledged"]
