from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlflow_drift.cli.files import read_labels, read_table
from mlflow_drift.errors import CorruptDataError, InvalidInputError


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def read(path, **more):
    return read_labels(path, "request_id", "label", **more)


def csv_of(tmp_path, *labels):
    lines = "".join(f"q{row},{label}\n" for row, label in enumerate(labels))
    return written(tmp_path, "labels.csv", "request_id,label\n" + lines)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "label,other,request_id\n1,x,007\n0,y,7\n1,z,1e5\n0,,NA\n"),
        ("a.CSV", '\ufeffrequest_id,label\r\n"007",1\r\n7,0\r\n\r\n1e5,1\r\nNA,0\r\n'),
        (
            "a.jsonl",
            """{"request_id": "007", "label": 1}\n{"request_id": 7, "label": 0}\n
            {"request_id": "1e5", "label": 1}\n{"label": 0, "request_id": "NA"}""",
        ),
    ],
)
def test_ids_stay_the_text_that_they_are(tmp_path, name, content):
    found = read(written(tmp_path, name, content))
    assert found.ids == ["007", "7", "1e5", "NA"]
    assert found.labels == [1, 0, 1, 0]
    assert (found.times, found.missing) == (None, 0)


@pytest.mark.parametrize("ending", [".ndjson", ".json", ".jsonl"])
def test_json_lines_of_every_ending_keep_their_types(tmp_path, ending):
    records = [{"request_id": f"q{j}", "label": label} for j, label in enumerate([True, False, True])]
    path = written(tmp_path, f"labels{ending}", "\n".join(map(json.dumps, records)))
    assert read(path).labels == [True, False, True]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(["007", "a"]), ["007", "a"]),
        (pa.array(["007", "a"]).dictionary_encode(), ["007", "a"]),
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([7.0, 8.0]), ["7", "8"]),
    ],
)
def test_parquet(tmp_path, ids, expected):
    pq.write_table(pa.table({"request_id": ids, "x": [1, 2], "label": [0.5, None]}), tmp_path / "l.parquet")
    found = read(tmp_path / "l.parquet")
    assert (found.ids, found.labels, found.missing) == (expected[:1], [0.5], 1)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1", "2.5", "1e-3"], [1.0, 2.5, 0.001]),
        (["True", "false"], [True, False]),
        (["yes", "no"], ["yes", "no"]),
        (["007", "1"], ["007", "1"]),
        (["1", "up"], ["1", "up"]),
        (["None", "up"], ["None", "up"]),
    ],
)
def test_the_type_of_a_csv_files_labels(tmp_path, texts, expected):
    found = read(csv_of(tmp_path, *texts)).labels
    assert found == expected
    assert {type(label) for label in found} == {type(label) for label in expected}


@pytest.mark.parametrize(
    ("label_type", "expected"), [("str", ["1", "0"]), ("int", [1, 0]), ("float", [1.0, 0.0])]
)
def test_a_type_that_is_asked_for(tmp_path, label_type, expected):
    found = read(csv_of(tmp_path, "1", "0"), label_type=label_type).labels
    assert list(map(repr, found)) == list(map(repr, expected))


def test_a_label_that_is_not_of_the_type_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"--label-column: must hold labels of type int; got '2.5'"):
        read(csv_of(tmp_path, "1", "2.5"), label_type="int")


def test_rows_without_a_label_are_counted(tmp_path):
    found = read(csv_of(tmp_path, "1", "", "NA", "0", "nan"))
    assert (found.ids, found.labels, found.missing) == (["q0", "q3"], [1, 0], 3)
    assert read(csv_of(tmp_path, "NA", "", "b"), label_type="str").labels == ["NA", "b"]
    path = written(
        tmp_path, "a.jsonl", '{"request_id": "a", "label": null}\n{"request_id": "b", "label": 1}\n'
    )
    assert read(path).missing == 1
    with pytest.raises(InvalidInputError, match="must hold at least one label; got 2 rows without"):
        read(csv_of(tmp_path, "", ""))


def test_times(tmp_path):
    text = "request_id,label,at\nq0,1,2026-05-01\nq1,,\nq2,0,2026-05-01T12:00:00+02:00\n"
    found = read(written(tmp_path, "a.csv", text), time_column="at")
    assert found.times == list(pd.to_datetime(["2026-05-01T00:00Z", "2026-05-01T10:00Z"]))
    for odd in ("", "soon", "1717171717.5"):
        path = written(tmp_path, "a.csv", f"request_id,label,at\nq0,1,{odd}\n")
        with pytest.raises(InvalidInputError, match="--time-column: must hold a time for every label"):
            read(path, time_column="at")
    path = written(tmp_path, "a.jsonl", '{"request_id": "a", "label": 1, "at": 1717171717}')
    with pytest.raises(InvalidInputError, match="--time-column: must hold a time for every label"):
        read(path, time_column="at")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "request_id,label\nq0,1\nq1,0,extra\n", "line 3 has 3 fields, the header 2"),
        ("a.csv", "request_id,label\nq0\n", "line 2 has 1 fields"),
        ("a.csv", 'request_id,label\n"q0,1\n', "unexpected end of data"),
        ("a.jsonl", '{"request_id": "a", "label": 1}\n{"request_id": "b", "la', "line 2: "),
        ("a.jsonl", "[1, 2]\n", "line 1 holds no JSON object"),
        ("a.parquet", "PAR1", "could not be read"),
    ],
)
def test_a_damaged_file_says_where(tmp_path, name, content, says):
    with pytest.raises(CorruptDataError, match="Nothing of it was taken") as caught:
        read(written(tmp_path, name, content))
    assert says in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"request_id,label\n\xff\xfe,1\n")
    with pytest.raises(CorruptDataError, match="can't decode"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "FILE: must hold at least one row"),
        ("a.csv", "request_id,label\n", "FILE: must hold at least one row"),
        ("a.jsonl", "\n", "FILE: must hold at least one row"),
        ("a.csv", "id,label\n1,0\n", "--id-column: must be a column of"),
        ("a.csv", "request_id,y\n1,0\n", "--label-column: must be a column of"),
        ("a.jsonl", '{"id": 1, "label": 0}', "--id-column: must be a column of"),
        (
            "a.csv",
            "request_id,label\n,1\n",
            "--id-column: must hold a request id in every row; got '' in row 1",
        ),
        ("a.jsonl", '{"request_id": null, "label": 0}', "got None in row 1"),
        ("a.jsonl", '{"request_id": 1.5, "label": 0}', "got 1.5 in row 1"),
        ("a.txt", "?", "FILE: must end in one of .csv"),
    ],
)
def test_misuse_names_the_option(tmp_path, name, content, says):
    with pytest.raises(InvalidInputError) as caught:
        read(written(tmp_path, name, content))
    assert says in str(caught.value)


def test_a_table_of_json_lines_keeps_texts_texts_and_numbers_numbers(tmp_path):
    records = [{"code": "007", "created_at": 1717171717, "date": "2020-01-01", "x": 1.5, "none": None}] * 2
    table = read_table(written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records))))
    assert table.drop(columns="none").to_dict("records") == [
        {name: value for name, value in record.items() if name != "none"} for record in records
    ]
    assert table["none"].isna().all()
