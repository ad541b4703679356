"""Build an environment for each peer, once.

    python -m benchmarks.peers.install [--folder FOLDER] [--python python3.11] [peer ...]

An environment is built anew when its requirement file changes. Exit code 1 if one could not be built; the message says
which, and where pip's log is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = ("evidently", "nannyml", "alibi_detect", "whylogs", "frouros")
HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-drift" / "peers"


class InstallError(RuntimeError):
    """A peer could not be installed."""


def requirements(peer: str) -> Path:
    """Return a peer's exact versions, found for Python 3.11."""
    return HERE / f"{peer}.txt"


def python_of(peer: str, folder: Path = FOLDER) -> Path:
    """Return the interpreter of a peer's environment."""
    return folder / peer / "bin" / "python"


def installed(peer: str, folder: Path = FOLDER) -> bool:
    """Say whether a peer's environment is complete and of these versions."""
    stamp = folder / peer / "installed"
    return python_of(peer, folder).exists() and stamp.is_file() and stamp.read_text() == _digest(peer)


def _digest(peer: str) -> str:
    return hashlib.sha256(requirements(peer).read_bytes()).hexdigest()


def install(peer: str, folder: Path = FOLDER, python: str = sys.executable) -> Path:
    """Return the interpreter of a peer's environment, built if need be.

    Raises
    ------
    InstallError
        If pip fails, or the peer doesn't start afterwards.
    """
    if installed(peer, folder):
        return python_of(peer, folder)
    home, log = folder / peer, folder / f"{peer}.log"
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    steps = {
        "make its environment": [python, "-m", "venv", str(home)],
        "install its packages": [
            str(python_of(peer, folder)), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements(peer)),
        ],
        "start": [str(python_of(peer, folder)), "-m", f"benchmarks.peers.{peer}_runner"],
    }  # fmt: skip
    with log.open("wb") as output:
        for what, command in steps.items():
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=HERE.parents[1],
            )
            if done.returncode:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise InstallError(f"{peer} failed to {what}: {''.join(last)} (see {log})")
    (home / "installed").write_text(_digest(peer))
    return python_of(peer, folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", metavar="peer", help=f"of {', '.join(PEERS)}; default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument(
        "--python", default=sys.executable, help="what makes the environments; 3.11 fits the pinned versions"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"unknown: {sorted(unknown)}; choose of {', '.join(PEERS)}")
    done = [installs(peer, arguments.folder, arguments.python) for peer in arguments.peers or PEERS]
    sys.exit(not all(done))


def installs(peer: str, folder: Path, python: str) -> bool:
    """Install a peer, say what came of it, and return whether it worked."""
    try:
        print(f"{peer}: {install(peer, folder, python)}", flush=True)
    except InstallError as error:
        print(error, file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
