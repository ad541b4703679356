"""The folders on disk, the links, setup.cfg and the wheel agree."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAPPED = ("hooks", "wrappers")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def folders_on_disk() -> set[str]:
    found = {"mlflow_drift"}
    for folder in sorted((ROOT / "mlflow_drift").rglob("__init__.py")):
        found.add(".".join(folder.parent.relative_to(ROOT).parts))
    for name in MAPPED:
        for folder in sorted((ROOT / name).rglob("__init__.py")):
            found.add(".".join(("mlflow_drift", *folder.parent.relative_to(ROOT).parts)))
    return found


def test_the_packages_listed_are_the_folders_on_disk(setup_cfg: configparser.ConfigParser) -> None:
    listed = setup_cfg["options"]["packages"].split()
    assert listed == sorted(set(listed))
    assert set(listed) == folders_on_disk()


def test_the_mapping_names_the_folders_at_the_top(setup_cfg: configparser.ConfigParser) -> None:
    lines = setup_cfg["options"]["package_dir"].strip().splitlines()
    mapping = dict(line.replace(" ", "").split("=") for line in lines)
    assert mapping == {"mlflow_drift": "mlflow_drift", **{f"mlflow_drift.{name}": name for name in MAPPED}}


@pytest.mark.parametrize("name", MAPPED)
def test_the_links_are_there_and_relative(name: str) -> None:
    link = ROOT / "mlflow_drift" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"  # noqa: PTH115 - the link's own text, not where it leads
    assert not (ROOT / name).is_symlink()
    assert (link / "__init__.py").is_file()


def test_the_layout_that_was_asked_for() -> None:
    for folder in ("mlflow_drift", "wrappers", "hooks", "tests", "examples"):
        assert (ROOT / folder).is_dir(), folder
    for file in ("setup.cfg", "pyproject.toml", "README.md", "Makefile", "constraints.txt", ".ci/run"):
        assert (ROOT / file).is_file(), file
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_test_folder_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_version_is_one() -> None:
    import mlflow_drift

    assert metadata.version("mlflow-drift") == mlflow_drift.__version__


def test_the_constraints_name_no_place_and_pin_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(pin.partition(";")[0].count("==") == 1 for pin in pins)
    for pin in pins:
        assert not {"/", "@", "+"} & set(pin), pin


def test_the_constraints_hold_here() -> None:
    """What is tested is what users get: no pinned package is here in another version."""
    from packaging.requirements import Requirement

    wrong = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        try:
            version = metadata.version(pin.name)
        except metadata.PackageNotFoundError:
            continue
        if not pin.specifier.contains(version, prereleases=True):
            wrong.append(f"{pin.name} {version}, pinned {pin.specifier}")
    assert wrong == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("mlflow_drift", *MAPPED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        "out",
    ]
    subprocess.run(command, cwd=copy, check=True, timeout=240)
    (built,) = (copy / "out").glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_everything_once(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert len(names) == len(set(names))
    for name in (
        "mlflow_drift/__init__.py",
        "mlflow_drift/py.typed",
        "mlflow_drift/hooks/specs.py",
        "mlflow_drift/wrappers/__init__.py",
        "mlflow_drift/report/base.html",
        "mlflow_drift/report/drift.html",
        "mlflow_drift/report/parts.html",
        "mlflow_drift/report/story.html",
    ):
        assert name in names
    shipped = {Path(name).parent.as_posix().replace("/", ".") for name in names if name.endswith(".py")}
    assert shipped == folders_on_disk()


def test_the_wheel_claims_one_name_only(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "mlflow_drift",
        "mlflow_drift-0.1.0.dist-info",
    }


def test_the_wheel_works_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        "import mlflow_drift, mlflow_drift.hooks.specs, mlflow_drift.wrappers, mlflow_drift.report.pages as pages;"
        f"assert mlflow_drift.__file__.startswith({str(tmp_path)!r}), mlflow_drift.__file__;"
        "assert 'No drift' in pages.drift_page({'verdict': 'NO_DRIFT', 'features': []})"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, timeout=120)


def test_the_wheel_announces_its_entry_points(wheel: zipfile.ZipFile) -> None:
    text = wheel.read("mlflow_drift-0.1.0.dist-info/entry_points.txt").decode()
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["console_scripts"]["mlflow-drift"] == "mlflow_drift.cli:main"
    assert parser["mlflow.model_registry_store"]["drift"] == "mlflow_drift.registry.store:build_store"
