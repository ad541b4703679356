"""Privacy: what a rule or a redactor holds back is in no byte that is written, whatever shape it came in."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlflow_drift.config import RecordingSettings, Settings
from mlflow_drift.errors import ConfigError
from mlflow_drift.hooks import reset_manager
from mlflow_drift.recording import (
    Recorder,
    erase,
    keeper,
    label_history,
    log_outcomes,
    new_request_id,
    read_window,
    row_ids,
    ship,
    stored_value,
)
from mlflow_drift.recording import recorder as recorder_module
from mlflow_drift.recording.counts import publish, read_counts
from mlflow_drift.recording.privacy import HASHED, protected, stored_ids
from mlflow_drift.recording.rules import digest

KEY = "a key of the test"
SECRETS = ["SECRETanna", "SECRETbert", "SECRETcarl"]
NUMBERS = [700_000_001, 700_000_002, 700_000_003]


def private(home, columns, key=KEY, **environ):
    environment = {
        "MLFLOW_DRIFT_HOME": str(home),
        "MLFLOW_DRIFT_COLUMNS": ";".join(f"{name}={rule}" for name, rule in columns.items()),
        "MLFLOW_DRIFT_HASH_KEY": key,
        **environ,
    }
    return Settings.load({name: text for name, text in environment.items() if text}, file=None)


def written(home):
    """Return every byte under a folder, Parquet files decompressed beside them."""
    found = b""
    for path in sorted(home.rglob("*")):
        if path.is_file():
            found += path.read_bytes()
            if path.suffix == ".parquet":
                found += pd.read_parquet(path).to_csv().encode()
    return found


def traces(found):
    """Return the secrets of which something can be found, as text or as a number's memory."""
    shapes = [np.int64, np.float64, np.int32, np.float32, ">i8"]
    return [secret for secret in SECRETS if secret.encode() in found] + [
        number
        for number in NUMBERS
        if str(number).encode() in found
        or any(np.array(number, dtype=kind).tobytes() in found for kind in shapes)
    ]


def frame(**columns):
    return pd.DataFrame({"age": [39.0, 41.0, 67.0], **columns})


COLUMNS = {
    "text": lambda: pd.Series(SECRETS),
    "objects": lambda: pd.Series(SECRETS, dtype=object),
    "category": lambda: pd.Series(SECRETS, dtype="category"),
    "integers": lambda: pd.Series(NUMBERS),
    "floats": lambda: pd.Series(NUMBERS, dtype=float),
    "nullable": lambda: pd.Series(NUMBERS, dtype="Int64"),
    "mixed": lambda: pd.Series([SECRETS[0], NUMBERS[1], None], dtype=object),
    "lists": lambda: pd.Series([[secret] for secret in SECRETS]),
    "arrow": lambda: pd.Series(SECRETS, dtype="string[pyarrow]"),
}


@pytest.mark.parametrize("rule", ["drop", "hash", "mask", "bucket:1000000000"])
@pytest.mark.parametrize(("kind", "repeat"), zip(COLUMNS, itertools.cycle([100, 1]), strict=False))
def test_no_byte_of_a_protected_column_is_written(settings, caplog, kind, rule, repeat):
    settings = private(settings.home, {"secret": rule})
    recorder = Recorder("churn", "1", settings=settings)
    data = pd.concat([frame(secret=COLUMNS[kind]())] * repeat, ignore_index=True)
    before = data.copy()
    assert recorder.record(data, np.zeros(len(data)))
    pd.testing.assert_frame_equal(data, before)
    assert not traces(written(settings.home) + caplog.text.encode())
    ship(settings)
    publish()
    assert not traces(written(settings.home) + caplog.text.encode())
    assert read_window("churn", settings=settings).features["age"].tolist() == data["age"].tolist()


def test_the_search_would_find_them(settings):
    recorder = Recorder("churn", "1", settings=settings)
    recorder.record(frame(secret=SECRETS, number=NUMBERS), None)
    assert traces(written(settings.home)) == SECRETS + NUMBERS
    ship(settings)
    assert traces(written(settings.home)) == SECRETS + NUMBERS


SHAPES = {
    "matrix": (np.column_stack([[1.0, 2.0, 3.0], NUMBERS]), "x1"),
    "integers": (np.column_stack([[1, 2, 3], NUMBERS]), "x1"),
    "text matrix": (np.array([["a", secret] for secret in SECRETS]), "x1"),
    "lists": ([[1.0, number] for number in NUMBERS], "x1"),
    "mixed lists": ([["a", secret] for secret in SECRETS], "x1"),
    "one column": (np.array(NUMBERS), "x0"),
    "list of text": (SECRETS, "x0"),
    "mapping": ({"a": [1, 2, 3], "name": SECRETS}, "name"),
    "structured": (np.array(list(zip([1, 2, 3], NUMBERS, strict=True)), dtype=[("a", "i8"), ("b", "i8")]), "b"),
    "series": (pd.Series(SECRETS, name="who"), "who"),
    "index": (pd.Index(SECRETS), "x0"),
    "tensor": (np.array(NUMBERS * 4).reshape(3, 2, 2), "x"),
    "tensor in a mapping": ({"a": [1, 2, 3], "image": np.array(NUMBERS * 4).reshape(3, 2, 2)}, "image"),
    "cells": (pd.DataFrame({"a": [1, 2, 3], "cell": [np.array(NUMBERS)] * 3}), "cell"),
    "twice": (pd.DataFrame([[1, *pair] for pair in zip(SECRETS, SECRETS, strict=True)], columns=["a", "b", "b"]), "b"),
    "masked": (np.ma.masked_array(np.column_stack([[1, 2, 3], NUMBERS]), mask=[[0, 1]] * 3), "x1"),
}  # fmt: skip


@pytest.mark.parametrize("rule", ["drop", "hash"])
@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_the_shape(settings, caplog, shape, side, rule):
    value, name = SHAPES[shape]
    if side == "output" and name.startswith("x"):
        name = "prediction"
    recorder = Recorder("churn", "1", settings=private(settings.home, {name: rule}))
    data, prediction = (value, [1, 2, 3]) if side == "input" else ([1, 2, 3], value)
    assert recorder.record(data, prediction, request_ids="r")
    ship(settings)
    assert not traces(written(settings.home) + caplog.text.encode())
    assert "protect nothing" not in caplog.text
    assert len(read_window("churn", settings=settings)) == 3


def test_an_array_goes_by_the_features_names(settings):
    data = np.column_stack([[1.0, 2.0, 3.0], NUMBERS, [4.0, 5.0, 6.0]])
    for name in ("income", "x1"):
        own = private(settings.home, {name: "drop"})
        recorder = Recorder(name, "1", feature_names=["age", "income", "score"], settings=own)
        assert recorder.record(data, None)
        assert read_window(name, settings=own).features.columns.tolist() == ["age", "score"]
    assert not traces(written(settings.home))


@pytest.mark.parametrize("names", [(), ("age", "income", "score")])
def test_an_array_whose_columns_cannot_be_told_apart_is_left_out(settings, names):
    own = private(settings.home, {"income": "drop"})
    recorder = Recorder("churn", "1", feature_names=names, settings=own)
    assert recorder.record(np.column_stack([[1.0, 2.0, 3.0], NUMBERS]), [1, 2, 3])
    assert not traces(written(settings.home))
    assert recorder.stats.recorded == 1
    assert set(recorder.stats.dropped_columns) == {"x0: unnamed", "x1: unnamed"}


OUTPUTS = {
    "prediction": np.array([0.1, 0.9]),
    "prediction_1": np.array([[0.1, 0.9], [0.2, 0.8]]),
    "prediction_score": pd.DataFrame({"label": ["a", "b"], "score": [0.1, 0.9]}),
    "score": {"label": ["a", "b"], "score": [0.1, 0.9]},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_rules_hold_for_outputs(settings, name):
    own = private(settings.home, {name: "bucket:0.5"})
    Recorder("churn", "1", settings=own).record([[1], [2]], OUTPUTS[name], request_ids="r")
    ship(own)
    table = pd.read_parquet(next((settings.home / "inference").rglob("*.parquet")))
    column = name if name.startswith("prediction") else f"prediction_{name}"
    assert table[column].tolist() == ([0.5, 0.5] if name == "prediction_1" else [0.0, 0.5])


def test_an_answer_that_is_dropped_leaves_the_rest(settings):
    own = private(settings.home, {"prediction": "drop"})
    recorder = Recorder("churn", "1", settings=own)
    assert recorder.record(frame(), NUMBERS)
    assert not traces(written(settings.home))
    assert not recorder.stats.dropped_columns


@pytest.mark.parametrize("kind", [dict, pd.DataFrame])
def test_an_output_keeps_its_name_when_the_other_is_dropped(settings, kind):
    own = private(settings.home, {"label": "drop"})
    Recorder("churn", "1", settings=own).record([[1], [2]], kind({"label": SECRETS[:2], "score": [0.1, 0.9]}))
    ship(own)
    table = pd.read_parquet(next((settings.home / "inference").rglob("*.parquet")))
    assert table["prediction_score"].tolist() == [0.1, 0.9]
    assert "prediction" not in table.columns
    assert not traces(written(settings.home))


def test_only_what_a_rule_names_is_touched(settings):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(50, 40)), columns=[f"c{j}" for j in range(40)])
    data["day"], data["city"] = pd.Timestamp("2024-05-01"), pd.Categorical(["Köln", "Bonn"] * 25)
    data.insert(7, "email", SECRETS[0])
    data.insert(20, "income", NUMBERS[0])
    own = private(settings.home, {"email": "drop", "income": "bucket:1000000", "c3": "mask"})
    assert Recorder("churn", "1", settings=own).record(data, data["c0"])
    features = read_window("churn", settings=own).features
    assert features.columns.tolist() == [name for name in data.columns if name != "email"]
    assert set(features["income"]) == {700_000_000.0}
    assert set(features["c3"]) == {"****"}
    rest = [name for name in features if name not in {"income", "c3", "day", "city"}]
    pd.testing.assert_frame_equal(features[rest], data[rest])
    assert features["city"].tolist() == data["city"].tolist()
    assert set(features["day"]) == {pd.Timestamp("2024-05-01")}


def test_what_cannot_be_done_is_counted_by_column_and_cause(settings, caplog):
    own = private(settings.home, {"name": "bucket:10", "tags": "hash", "age": "hash"}, key="")
    recorder = Recorder("churn", "1", settings=own)
    assert caplog.text.count("there is no MLFLOW_DRIFT_HASH_KEY") == 1
    for _ in range(3):
        assert recorder.record(frame(name=SECRETS, tags=[[secret] for secret in SECRETS]), None)
    assert recorder.stats.dropped_columns == {
        "name: bucket of what is no number": 3,
        "tags: hash without MLFLOW_DRIFT_HASH_KEY": 3,
        "age: hash without MLFLOW_DRIFT_HASH_KEY": 3,
    }
    assert recorder.stats.recorded == 3
    assert not traces(written(settings.home) + caplog.text.encode())
    assert caplog.text.count("left out for churn") == 1  # said at most once a minute


def test_a_name_that_is_mistyped_is_pointed_out_once(settings, caplog):
    own = private(
        settings.home, {"emial": "drop", "age": "mask", "prediction_score": "drop", "request_id": "hash"}
    )
    recorder = Recorder("churn", "1", settings=own)
    for _ in range(3):
        recorder.record(frame(email=SECRETS), {"label": [1, 2, 3], "score": [1, 2, 3]})
    [line] = [record.getMessage() for record in caplog.records if "protect nothing" in record.getMessage()]
    assert "'emial'" in line
    assert "'age', 'email', 'prediction_label', 'prediction_score'" in line
    assert "the rules of 'emial' apply" in line


def test_rules_of_one_model_leave_another_alone(settings, tmp_path):
    file = tmp_path / "mlflow-drift.toml"
    file.write_text('[recording.models.churn]\ncolumns = {name = "drop"}\n')
    own = Settings.load({"MLFLOW_DRIFT_HOME": str(settings.home)}, file=file)
    Recorder("churn", "1", settings=own).record(frame(name=SECRETS), None)
    assert not traces(written(settings.home))
    Recorder("other", "1", settings=own).record(frame(name=SECRETS), None)
    assert traces(written(settings.home)) == SECRETS


# --- ids


def test_hashed_ids_join_their_labels(settings):
    own = private(settings.home, {"request_id": "hash"})
    recorder = Recorder("churn", "1", settings=own)
    recorder.record(frame(), [0, 0, 0], request_ids="SECRETanna")
    recorder.record(frame()[:1], [0], request_ids="SECRETbert:700000001")
    recorder.record(frame()[:2], [0, 0], request_ids=["SECRETcarl", 700_000_002])
    ids = [*row_ids("SECRETanna", 3), "SECRETbert:700000001", "SECRETcarl", "700000002"]
    receipt = log_outcomes("churn", ids, [1, 2, 3, 4, 5, 6], settings=own)
    assert (receipt.written, receipt.unknown, receipt.duplicates) == (6, 0, 0)
    window = read_window("churn", settings=own)
    assert dict(zip(window.request_ids, window.labels, strict=True)) == dict(
        zip(stored_ids(ids, "churn", own), [1, 2, 3, 4, 5, 6], strict=True)
    )
    assert window.request_ids[0] == HASHED + digest(KEY.encode(), "SECRETanna:0")
    assert not traces(written(settings.home))


def test_ids_without_a_key_are_replaced(settings, caplog):
    own = private(settings.home, {"request_id": "hash"}, key="")
    recorder = Recorder("churn", "1", settings=own)
    assert recorder.record(frame(), None, request_ids=SECRETS)
    assert "there is no MLFLOW_DRIFT_HASH_KEY" in caplog.text
    assert recorder.stats.dropped_columns == {"request_id: hash without MLFLOW_DRIFT_HASH_KEY": 1}
    assert len(read_window("churn", settings=own)) == 3
    assert not traces(written(settings.home) + caplog.text.encode())
    with pytest.raises(ConfigError, match="MLFLOW_DRIFT_HASH_KEY: must hold the secret"):
        stored_ids(["a"], "churn", own)


@pytest.mark.parametrize("rule", ["hash", "drop", "mask", "bucket:10"])
def test_a_rule_for_the_column_of_the_ids_holds_for_the_ids(settings, caplog, rule):
    own = private(settings.home, {"customer": rule})
    recorder = Recorder("churn", "1", id_column="customer", settings=own)
    assert recorder.record(frame(), None, request_ids=SECRETS)
    assert 'write request_id = "hash"' in caplog.text
    assert "protect nothing" not in caplog.text
    window = read_window("churn", settings=own)
    if rule == "hash":
        assert list(window.request_ids) == [HASHED + digest(KEY.encode(), secret) for secret in SECRETS]
    assert not traces(written(settings.home))


# --- redactors


class Redacting:
    """A redactor made of a function, which remembers what it saw."""

    name = "redacting"

    def __init__(self, function):
        self.function, self.seen = function, []

    def redact(self, column, values):
        self.seen.append((column, values.copy()))
        return self.function(column, values)


@pytest.fixture
def redacting(monkeypatch):
    def register(function):
        redactor = Redacting(function)
        monkeypatch.setattr(recorder_module, "parts", lambda kind: [redactor])
        return redactor

    return register


def test_a_redactor_sees_only_what_the_rules_left(settings, redacting):
    redactor = redacting(lambda column, values: values)
    own = private(settings.home, {"name": "drop", "mail": "hash", "age": "bucket:10"})
    recorder = Recorder("churn", "1", settings=own)
    recorder.record(frame(name=SECRETS, mail=SECRETS, city="Bonn"), [0, 1, 0])
    assert [column for column, _ in redactor.seen] == ["age", "mail", "city", "prediction"]
    assert redactor.seen[0][1].tolist() == [30, 40, 60]
    assert redactor.seen[1][1].tolist() == [digest(KEY.encode(), secret) for secret in SECRETS]
    features = read_window("churn", settings=own).features
    assert features.columns.tolist() == ["age", "mail", "city"]
    assert not traces(written(settings.home))


def raising(column, values):
    raise ValueError(f"cannot redact {values.tolist()}")


def hiding(column, values):
    return values.mask(values.isin([*SECRETS, *NUMBERS])) if column == "secret" else values


def in_place(column, values):
    if column == "secret":
        values[:] = None
    return values


@pytest.mark.parametrize("redact", [raising, hiding, in_place, lambda column, values: None])
@pytest.mark.parametrize("kind", [kind for kind in COLUMNS if kind != "lists"])
@pytest.mark.parametrize("repeat", [1, 100])
def test_nothing_lies_beneath_what_a_redactor_returns(settings, redacting, caplog, kind, redact, repeat):
    redacting(redact)
    recorder = Recorder("churn", "1", settings=settings)
    data = pd.concat([frame(secret=COLUMNS[kind]())] * repeat, ignore_index=True)
    before = data.copy()
    assert recorder.record(data, np.zeros(len(data)))
    pd.testing.assert_frame_equal(data, before)
    ship(settings)
    assert not traces(written(settings.home) + caplog.text.encode())


def test_tensors_pass_through_redactors(settings, redacting):
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype("float32")
    redacting(
        lambda column, values: None if column == "face" else values.map(abs) if column == "photo" else values
    )
    recorder = Recorder("churn", "1", settings=settings)
    before = images.copy()
    recorder.record({"photo": images, "face": images, "scan": images}, None)
    assert (images == before).all()
    features = read_window("churn", settings=settings).features
    assert features.columns.tolist() == ["photo", "scan"]
    assert (np.stack(features["photo"]) == abs(images)).all()
    assert (np.stack(features["scan"]) == images).all()
    assert np.stack(features["scan"]).dtype == np.float32


def test_several_outputs_have_the_logs_names(settings, redacting):
    redactor = redacting(lambda column, values: values)
    Recorder("churn", "1", settings=settings).record([[1, 2]], np.array([[0.1, 0.9]]))
    assert [column for column, _ in redactor.seen] == ["x0", "x1", "prediction_0", "prediction_1"]


def test_threads_share_rules_and_redactors(settings, redacting):
    redacting(lambda column, values: raising(column, values) if column == "b" else values)
    own = private(settings.home, {"name": "drop", "mail": "hash"})
    recorder = Recorder("churn", "1", settings=own)

    def work(number):
        for turn in range(50):
            data = pd.DataFrame(
                {"a": [number], "b": [turn], "name": SECRETS[0], "mail": f"SECRETanna{number}"}
            )
            data["extra"] = turn
            assert recorder.record(data if turn % 2 else data[["mail", "name", "b", "a"]], [number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    window = read_window("churn", settings=own)
    assert len(window) == recorder.stats.recorded == 300
    assert recorder.stats.dropped_columns == {"b: redacting raised ValueError": 300}
    assert window.features["a"].tolist() == window.predictions.tolist()
    assert window.features["mail"].tolist() == [
        digest(KEY.encode(), f"SECRETanna{int(number)}") for number in window.predictions
    ]
    assert not traces(written(settings.home))


# --- errors, damage, plugins


def test_errors_of_the_request_are_logged_without_its_values(settings, monkeypatch, caplog):
    def broken(self, *args):
        raise ValueError(f"cannot encode {SECRETS}")

    recorder = Recorder("churn", "1", settings=settings)
    monkeypatch.setattr(recorder_module.Encoder, "encode", broken)
    with caplog.at_level(logging.DEBUG):
        assert recorder.record(frame(name=SECRETS), None) is False
    assert "not recorded for churn (unsupported: ValueError)" in caplog.text
    assert not traces(caplog.text.encode() + written(settings.home))


def test_quarantine_holds_no_more_than_the_segment(settings):
    own = private(settings.home, {"name": "hash", "age": "drop"})
    recorder = Recorder("churn", "1", settings=own)
    for _ in range(3):
        recorder.record(frame(name=SECRETS, number=1), None)
    keeper.stop()
    [segment] = (settings.home / "spool").rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    ship(own)
    assert list((settings.home / "spool").rglob("quarantine/*"))
    assert not traces(written(settings.home))


PLUGIN = """
from mlflow_drift.hooks import hookimpl

class Names:
    name = "names"
    def redact(self, column, values):
        if column == "broken":
            raise RuntimeError(values.iloc[0])
        return None if column == "who" else values.str.slice(0, 6) if column == "mail" else values

@hookimpl
def register_redactors():
    return [Names()]
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "names_plugin_of_the_test.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MLFLOW_DRIFT_PLUGINS", "names_plugin_of_the_test")
    reset_manager()
    yield
    monkeypatch.delenv("MLFLOW_DRIFT_PLUGINS")
    sys.modules.pop("names_plugin_of_the_test", None)
    reset_manager()


def test_a_plugins_redactors_hold(settings, plugin, caplog):
    recorder = Recorder("churn", "1", settings=settings)
    assert recorder.record(frame(who=SECRETS, mail=SECRETS, broken=SECRETS), [0, 1, 0])
    assert recorder.stats.dropped_columns == {"who: kept back": 1, "broken: names raised RuntimeError": 1}
    features = read_window("churn", settings=settings).features
    assert features.columns.tolist() == ["age", "mail"]
    assert features["mail"].tolist() == ["SECRET"] * 3
    assert not traces(written(settings.home) + caplog.text.encode())


CELLS = st.one_of(
    st.sampled_from([*SECRETS, *NUMBERS]),
    st.none(),
    st.integers(),
    st.text(max_size=5),
    st.floats(),
    st.booleans(),
)


@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    cells=st.lists(CELLS, min_size=1, max_size=6),
    rule=st.sampled_from(["drop", "hash", "mask", "bucket:1000000000", "bucket:1,2"]),
    as_mapping=st.booleans(),
    side=st.sampled_from(["input", "output"]),
)
def test_any_cells_in_any_place(tmp_path, cells, rule, as_mapping, side):
    home = tmp_path / new_request_id()
    recorder = Recorder("churn", "1", settings=private(home, {"secret": rule}))
    value = {"secret": np.array([*cells, None], dtype=object)[:-1], "other": np.arange(len(cells))}
    value = value if as_mapping else pd.DataFrame(value)
    other = np.arange(len(cells))
    assert recorder.record(*((value, other) if side == "input" else (other, value)))
    assert not traces(written(home))
    keeper.stop()


def test_reference_rows_become_what_recorded_ones_became(settings):
    own = private(settings.home, {"name": "hash", "age": "bucket:10", "zip": "mask:2", "gone": "drop"})
    data = frame(name=SECRETS, zip=NUMBERS, gone=1, city="Bonn")
    Recorder("churn", "1", settings=own).record(data, None)
    pd.testing.assert_frame_equal(
        protected(data, "churn", own), read_window("churn", settings=own).features, check_dtype=False
    )


# --- names that are nearly right


MISSPELT = {
    "case": (lambda: frame(Email=SECRETS), "email"),
    "spaces": (lambda: frame(**{" email ": SECRETS}), "email"),
    "both in the rule": (lambda: frame(email=SECRETS), " EMAIL"),
    "level": (
        lambda: pd.DataFrame(list(zip([1, 2, 3], SECRETS, strict=True)), columns=pd.MultiIndex.from_tuples([("u", "a"), ("u", "email")])),
        "email",
    ),
    "level of a key": (lambda: {("u", "a"): [1, 2, 3], ("u", "Email"): SECRETS}, "email"),
    "series": (lambda: pd.Series(SECRETS, name=("u", "email")), "email"),
}  # fmt: skip


@pytest.mark.parametrize(("side", "rule"), [("input", "drop"), ("output", "hash")])
@pytest.mark.parametrize("case", MISSPELT)
def test_names_are_compared_without_case_spaces_and_levels(settings, caplog, case, side, rule):
    value, name = MISSPELT[case]
    # Not through the variable, which strips names.
    own = dataclasses.replace(
        private(settings.home, {}), recording=RecordingSettings(columns={name: rule}, ship_every=3600)
    )
    recorder = Recorder("churn", "1", settings=own)
    assert recorder.record(*((value(), [1, 2, 3]) if side == "input" else ([1, 2, 3], value())))
    ship(own)
    assert not traces(written(settings.home) + caplog.text.encode())
    assert not recorder.stats.dropped_columns
    assert "protect nothing" not in caplog.text


def test_an_array_goes_by_the_features_names_whatever_their_case(settings):
    own = private(settings.home, {"income": "drop"})
    recorder = Recorder("churn", "1", feature_names=["Age", "Income"], settings=own)
    assert recorder.record(np.column_stack([[1.0, 2.0, 3.0], NUMBERS]), None)
    assert not traces(written(settings.home))


def test_a_rule_for_the_ids_holds_whatever_its_case(settings):
    for name, column in (("Request_ID", None), ("Customer ", "customer")):
        own = private(settings.home, {name: "hash"})
        assert Recorder("churn", "1", id_column=column, settings=own).record(
            frame(), None, request_ids=SECRETS
        )
    assert not traces(written(settings.home))


def test_a_rule_that_met_no_column_is_counted_once(settings):
    own = private(settings.home, {"emial": "drop", "age": "mask"})
    recorder = Recorder("churn", "1", settings=own)
    for _ in range(3):
        assert recorder.record(frame(email=1), [1, 2, 3])
    assert recorder.stats.dropped_columns == {"emial: no such column": 1}
    publish()
    assert read_counts(own, "churn").total.dropped_columns == {"emial: no such column": 1}


@pytest.mark.parametrize("table", ["adlut", "Adult", "adult "])
def test_a_table_of_a_name_that_no_model_has_is_pointed_out(settings, tmp_path, caplog, table):
    file = tmp_path / "mlflow-drift.toml"
    file.write_text(f'[recording.models."{table}".columns]\nname = "drop"\n')
    own = Settings.load({"MLFLOW_DRIFT_HOME": str(settings.home)}, file=file)
    recorder = Recorder("adult", "1", settings=own)
    assert [line for line in caplog.messages if table in line and "does not hold for adult" in line]
    for _ in range(2):
        assert recorder.record(frame(), None)
    assert recorder.stats.dropped_columns == {f"[recording.models.{table}]: no such column": 1}
    caplog.clear()
    file.write_text(file.read_text() + "[recording.models.adult]\n")
    for model in ("adult", "churn", table):
        Recorder(model, "1", settings=Settings.load({"MLFLOW_DRIFT_HOME": str(settings.home)}, file=file))
    assert not caplog.messages


# --- mappings in cells


class Answer:
    """Tells its fields as Pydantic's models do."""

    def __init__(self, secret):
        self.secret = secret

    def model_dump(self):
        return {"email": self.secret, "score": 0.5}


NESTED = {
    "list of dicts": lambda: [{"Email": secret, "score": 0.5} for secret in SECRETS],
    "matrix of dicts": lambda: [[{"email": secret, "score": 0.5}] for secret in SECRETS],
    "deeper": lambda: [{"to": [{"user": {"email": secret}, "score": 0.5}]} for secret in SECRETS],
    "column": lambda: pd.DataFrame({"who": [{"email": secret, "score": 0.5} for secret in SECRETS]}),
    "series": lambda: pd.Series([[{"email": secret, "score": 0.5}] for secret in SECRETS], name="who"),
    "mapping": lambda: {"who": [{"email": secret, "score": 0.5} for secret in SECRETS]},
    "array": lambda: np.array([{"email": secret, "score": 0.5} for secret in SECRETS], dtype=object),
    "models": lambda: [Answer(secret) for secret in SECRETS],
    "struct": lambda: pd.DataFrame(
        {
            "who": pd.array(
                [{"email": secret, "score": 0.5} for secret in SECRETS],
                dtype=pd.ArrowDtype(pa.struct([("email", pa.string()), ("score", pa.float64())])),
            )
        }
    ),
}


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(
    ("shape", "rule"), zip(NESTED, itertools.cycle(["drop", "hash", "mask", "bucket:10"]), strict=False)
)
def test_rules_hold_inside_of_cells(settings, caplog, shape, side, rule):
    value = NESTED[shape]()
    before = repr(value)
    recorder = Recorder("churn", "1", settings=private(settings.home, {"email": rule}))
    assert recorder.record(*((value, [1, 2, 3]) if side == "input" else ([1, 2, 3], value)))
    assert repr(value) == before
    ship(settings)
    found = written(settings.home)
    assert not traces(found + caplog.text.encode())
    assert b"0.5" in found  # the rest of the cell stays
    cause = {"email: bucket of what is no number": 3} if rule == "bucket:10" else {}
    assert {name.lower(): n for name, n in recorder.stats.dropped_columns.items()} == cause
    assert "protect nothing" not in caplog.text


def test_a_mapping_that_holds_itself_takes_the_answer_only(settings):
    endless: dict[str, object] = {}
    endless["self"] = endless
    recorder = Recorder("churn", "1", settings=private(settings.home, {"email": "drop", "age": "mask"}))
    assert recorder.record(frame(), [endless] * 3)
    assert recorder.stats.dropped_columns["prediction: unsupported"] == 1


# --- what redactors may return


def exiting(column, values):
    raise SystemExit(1)


def closing(column, values):
    raise GeneratorExit


NO_COLUMNS = {
    "returned a str for a column": lambda column, values: "abc",
    "returned a dict for a column": lambda column, values: {1: 1, 2: 2, 3: 3},
    "returned a set for a column": lambda column, values: {1, 2, 3},
    "returned a generator for a column": lambda column, values: (value for value in values),
    "returned a int for a column": lambda column, values: 3,
    "returned 1 values for 3": lambda column, values: np.array(3),
    "returned 2 values for 3": lambda column, values: values[:2],
    "returned values of type object": lambda column, values: [object()] * 3,
    "returned values of type set": lambda column, values: [1, None, {1}],
    "raised SystemExit": exiting,
    "raised GeneratorExit": closing,
}


@pytest.mark.parametrize("cause", NO_COLUMNS)
@pytest.mark.parametrize("kind", [dict, pd.DataFrame])
def test_what_is_no_column_is_left_out_and_the_request_stays(settings, redacting, kind, cause):
    redacting(lambda column, values: NO_COLUMNS[cause](column, values) if column == "name" else values)
    recorder = Recorder("churn", "1", settings=settings)
    assert recorder.record(kind({"age": [1, 2, 3], "name": SECRETS}), None)
    assert recorder.stats.dropped_columns == {f"name: redacting {cause}": 1}
    window = read_window("churn", settings=settings)
    assert window.features.to_dict("list") == {"age": [1, 2, 3]}
    assert not list((settings.home / "spool").rglob("quarantine/*"))


def test_control_c_is_nobodys_loss(settings, redacting):
    def interrupted(column, values):
        raise KeyboardInterrupt

    redacting(interrupted)
    with pytest.raises(KeyboardInterrupt):
        Recorder("churn", "1", settings=settings).record(frame(), None)


# --- a shell without the serving processes' rule


def test_ids_in_clear_are_refused_where_the_log_holds_hashed_ones(settings):
    hashing, plain = private(settings.home, {"request_id": "hash"}), private(settings.home, {}, key="")
    Recorder("churn", "1", settings=hashing).record(frame(), None, request_ids="r")
    ids = row_ids("r", 3)
    way_out = r"^request_id: must be hashed .*MLFLOW_DRIFT_COLUMNS=\"request_id=hash\".*MLFLOW_DRIFT_HASH_KEY"
    for own in (plain, private(settings.home, {})):
        with pytest.raises(ConfigError, match=way_out):
            log_outcomes("churn", ids, [0, 1, 0], settings=own)
        with pytest.raises(ConfigError, match=way_out):
            erase("churn", ids=["r"], dry_run=True, settings=own)
    assert not (settings.home / "inference" / "churn" / "outcomes").exists()
    assert log_outcomes("churn", ids, [0, 1, 0], settings=hashing).unknown == 0
    with pytest.raises(ConfigError, match=way_out):
        label_history("churn", ids, settings=plain)
    stored = read_window("churn", settings=plain).request_ids.tolist()
    assert log_outcomes("churn", stored, [1, 1, 1], settings=plain).duplicates == 3  # as the log shows them
    assert erase("churn", ids=["r"], dry_run=True, settings=hashing).rows == 3


def test_rows_from_before_the_rule_are_erased_too(settings):
    hashing, plain = private(settings.home, {"request_id": "hash"}), private(settings.home, {}, key="")
    for own in (plain, hashing):
        Recorder("churn", "1", settings=own).record(frame(), None, request_ids="r")
    assert erase("churn", ids=["r"], settings=hashing).rows == 6


def test_a_condition_takes_the_stored_value(settings):
    own = private(settings.home, {"email": "hash", "age": "bucket:10", "gone": "drop", "request_id": "hash"})
    Recorder("churn", "1", settings=own).record(frame(email=SECRETS), None, request_ids="r")
    found = stored_value("churn", "email", SECRETS[1], own)
    assert erase("churn", where=f"email = '{found}'", dry_run=True, settings=own).rows == 1
    assert stored_value("churn", "request_id", "r:1", own) in read_window("churn", settings=own).request_ids
    assert stored_value("churn", "age", 39, own) == 30
    assert stored_value("churn", "city", "Bonn", own) == "Bonn"
    done = erase("churn", where="email = 'x'", dry_run=True, settings=own)
    assert any("stored_value('churn', 'email', …)" in note for note in done.notes)
    for column, keyed in (("gone", own), ("email", private(settings.home, {"email": "hash"}, key=""))):
        with pytest.raises(ConfigError, match=r"^column: must be one that the log holds"):
            stored_value("churn", column, "x", keyed)
