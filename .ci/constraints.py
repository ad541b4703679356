"""Resolve what the package and its extras need on every supported Python, and write constraints.txt.

    python3.11 .ci/constraints.py python3.10 python3.11 python3.12 python3.13

Each argument is an interpreter with pip; nothing is installed. torch is pinned by hand: resolving it would
download gigabytes, and it pins its own accelerator packages exactly.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]
HEADER = f"""\
# Exact versions of everything the package and its extras torch, test and lint need, on Python {{versions}}.
# Regenerate with: python3.11 .ci/constraints.py {{interpreters}}
# (torch {TORCH} is pinned in that script.)
"""

Pins = dict[str, str]


def requirements() -> list[str]:
    """Return all that must be resolved: the package's, the extras', and what torch needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["test"], *extras["lint"], *TORCH_NEEDS]


def resolve(interpreter: str) -> tuple[str, Pins]:
    """Return an interpreter's version, as "3.10", and the versions pip would install for it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--only-binary=:all:", "--report", str(report), *requirements()], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))
    pins = {item["metadata"]["name"]: item["metadata"]["version"] for item in found["install"]}
    return found["environment"]["python_version"], {normal(name): pin for name, pin in pins.items()}


def normal(name: str) -> str:
    """Return a distribution's name in the one form that compares."""
    return name.lower().replace("_", "-").replace(".", "-")


def lines(resolved: dict[str, Pins]) -> list[str]:
    """Return one line a package and version, with a marker where not every Python gets the same."""
    pythons = sorted(resolved, key=lambda version: int(version.split(".")[1]))
    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for python in pythons:
        for name, pin in resolved[python].items():
            wanted[name, pin].append(python)
    return [f"{name}=={pin}{marker(having, pythons)}" for (name, pin), having in sorted(wanted.items())]


def marker(having: list[str], pythons: list[str]) -> str:
    """Return the marker that holds on the Pythons ``having`` alone; open-ended at both ends."""
    first, last = pythons.index(having[0]), pythons.index(having[-1])
    if having != pythons[first : last + 1]:
        return "; " + " or ".join(f'python_version == "{python}"' for python in having)
    bounds = [f'python_version >= "{pythons[first]}"'] if first else []
    bounds += [f'python_version < "{pythons[last + 1]}"'] if last + 1 < len(pythons) else []
    return "; " + " and ".join(bounds) if bounds else ""


def main(interpreters: list[str]) -> None:
    """Write constraints.txt."""
    resolved = dict(resolve(interpreter) for interpreter in interpreters)
    header = HEADER.format(
        versions=", ".join(resolved), interpreters=" ".join(f"python{version}" for version in resolved)
    )
    text = header + "\n".join(sorted([*lines(resolved), f"torch=={TORCH}"])) + "\n"
    (ROOT / "constraints.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
