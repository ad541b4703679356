from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from mlflow_drift.recording import short_write as module
from mlflow_drift.recording.short_write import SLOW, short_write


@pytest.fixture(autouse=True)
def _nothing_was_slow(monkeypatch):
    monkeypatch.setattr(module, "_slow_until", 0.0)


@pytest.fixture(params=["lock kept", "after a slow write"])
def either_way(request, monkeypatch):
    if request.param == "after a slow write":
        monkeypatch.setattr(module, "_slow_until", time.monotonic() + 60)


@pytest.mark.usefixtures("either_way")
def test_bytes_of_all_values_are_appended(tmp_path):
    written = bytes(range(256)) * 5
    with (tmp_path / "file").open("ab") as file:
        assert short_write(file.fileno(), b"before") == 6
        assert short_write(file.fileno(), written) == len(written)
    assert (tmp_path / "file").read_bytes() == b"before" + written


@pytest.mark.usefixtures("either_way")
def test_a_full_disk_and_a_closed_file_raise_what_os_write_raises():
    with open("/dev/full", "ab", buffering=0) as file, pytest.raises(OSError) as failed:  # noqa: PTH123
        short_write(file.fileno(), b"x")
    assert failed.value.errno == errno.ENOSPC
    with pytest.raises(OSError) as failed:
        short_write(10**6, b"x")
    assert failed.value.errno == errno.EBADF


def test_after_a_slow_write_others_run(monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"x" * 65536)  # it is full: the next write waits for the reader
    monkeypatch.setattr(module, "_slow_until", time.monotonic() + 60)
    thread = threading.Thread(target=short_write, args=(writing, b"late"))
    thread.start()
    assert thread.is_alive()
    assert len(os.read(reading, 65536)) == 65536
    thread.join(10)
    assert os.read(reading, 10) == b"late"
    os.close(reading)
    os.close(writing)


def test_a_slow_write_is_noticed(tmp_path, monkeypatch):
    clock = iter([0.0, SLOW * 1.5, SLOW * 2])
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    asked = []
    monkeypatch.setattr(os, "write", lambda fd, data: asked.append(data) or len(data))
    with (tmp_path / "file").open("ab") as file:
        short_write(file.fileno(), b"slow")
        short_write(file.fileno(), b"next")
    assert asked == [b"next"]
    assert (tmp_path / "file").read_bytes() == b"slow"
