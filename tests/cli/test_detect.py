from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mlflow_drift.cli import main

WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
}


def invoke(*arguments):
    result = CliRunner().invoke(main, ["detect", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output


def rows(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"age": rng.normal(40 + shift, 5, n), "city": rng.choice(["Bonn", "Rome"], n)})


def written(folder, name, frame, suffix="parquet"):
    path = folder / f"{name}.{suffix}"
    WRITERS[suffix](frame, path)
    return path


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_of_each_kind_are_compared(tmp_path, suffix):
    january = written(tmp_path, "january", rows(1500, 0), suffix)
    quiet = written(tmp_path, "quiet", rows(800, 3), suffix)
    loud = written(tmp_path, "loud", rows(800, 2, shift=4), suffix)
    code, output = invoke(january, quiet)
    assert (code, output.splitlines()[0]) == (0, "NO_DRIFT")
    code, output = invoke(january, loud)
    assert code == 1
    assert output.startswith("DRIFT\n")
    assert "age" in output
    assert "Began at row 0" in output


def test_json_and_a_page(tmp_path):
    january = written(tmp_path, "january", rows(1500, 0))
    loud = written(tmp_path, "loud", rows(800, 2, shift=4))
    page = tmp_path / "report.html"
    code, output = invoke(january, loud, "--json", "--html", page, "--alpha", "0.01", "--seed", "7")
    report = json.loads(output)
    assert code == 1
    assert (report["alpha"], report["seed"], report["n_reference"], report["n_current"]) == (
        0.01,
        7,
        1500,
        800,
    )
    assert report["features"][0]["name"] == "age"
    assert "</html>" in page.read_text(encoding="utf-8")


def test_explained_segments_are_shown(tmp_path):
    january = written(tmp_path, "january", rows(4000, 0))
    february = rows(3000, 1)
    february.loc[:1200, "city"] = "Rome"
    code, output = invoke(january, written(tmp_path, "february", february), "--explain")
    assert code == 1
    assert "Segments that grew or shrank" in output
    assert "city = Rome" in output


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ("age,city\n1,a,b\n", (), "bad.csv"),
        ("", (), "bad.csv"),
        ("age\n1\n2\n", (), "must have the 2 columns"),
        ("age,city\n40,Bonn\n", ("--alpha", "2"), "alpha: must be a number in (0, 1)"),
    ],
)
def test_what_cannot_be_compared_is_an_error_and_no_verdict(tmp_path, content, arguments, says):
    january = written(tmp_path, "january", rows(200, 0))
    bad = tmp_path / "bad.csv"
    bad.write_text(content, encoding="utf-8")
    code, output = invoke(january, bad, *arguments)
    assert code not in (0, 1)
    assert says in output
    assert "Traceback" not in output
