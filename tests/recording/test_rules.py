"""Rules: equal values hash equally, masks show no more than they say, buckets hold their values."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import hmac
import math
import string
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlflow_drift.config import ColumnRule
from mlflow_drift.recording import rules
from mlflow_drift.recording.rules import CannotApplyError, apply_rule, digest, text_of

KEY = b"a key of the test"


def applied(rule, values, key=KEY, **kwargs):
    column = values if isinstance(values, pd.Series) else pd.Series(values, **kwargs)
    before = column.copy()
    result = apply_rule(ColumnRule.parse(rule), column, key).tolist()
    pd.testing.assert_series_equal(column, before)
    return result


def test_a_hash_is_the_hmac_that_anyone_with_the_key_can_compute():
    expected = hmac.new(KEY, "Käthe".encode(), hashlib.sha256).hexdigest()[:32]
    assert applied("hash", ["Käthe", None, "Käthe"]) == [expected, None, expected]
    assert applied("hash", ["Käthe"], key=b"another") != [expected]


def test_a_hash_needs_its_key():
    with pytest.raises(CannotApplyError, match="MLFLOW_DRIFT_HASH_KEY"):
        apply_rule(ColumnRule("hash"), pd.Series(["a"]), None)


ONES = [
    pd.Series([1], dtype="int8"),
    pd.Series([1], dtype="uint64"),
    pd.Series([1.0], dtype="float32"),
    pd.Series([1, None], dtype="Int64")[:1],
    pd.Series([1], dtype=object),
    pd.Series([np.float64(1)], dtype=object),
    pd.Series([decimal.Decimal("1.00")], dtype=object),
    pd.Series(["1"]),
    pd.Series(["1"], dtype="category"),
    pd.Series([1.0], dtype="category"),
    pd.Series([b"1"]),
]


@pytest.mark.parametrize("repeat", [1, 1000])
def test_equal_values_hash_equally_whatever_carried_them(repeat):
    hashes = {applied("hash", pd.concat([one] * repeat, ignore_index=True))[-1] for one in ONES}
    assert hashes == {digest(KEY, "1")}


def test_equal_instants_hash_equally():
    moment = pd.Timestamp("2024-05-01 12:00", tz="Europe/Berlin")
    same = [
        pd.Series([moment]),
        pd.Series([moment.tz_convert("UTC")]),
        pd.Series([moment]).dt.as_unit("s"),
        pd.Series([moment.to_pydatetime()], dtype=object),
    ]
    assert len({applied("hash", column)[0] for column in same}) == 1
    naive = moment.tz_localize(None)
    assert applied("hash", pd.Series([naive])) == applied(
        "hash", pd.Series([naive.to_datetime64()], dtype=object)
    )
    assert applied("hash", pd.Series([naive])) != applied("hash", same[0])


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), np.float32("nan"), decimal.Decimal("nan")]
)
@pytest.mark.parametrize("rule", ["hash", "mask:2", "bucket:10", "bucket:1,2"])
def test_missing_stays_missing(rule, missing):
    first, second = applied(rule, [missing, 12], dtype=object)
    assert first is None or math.isnan(first)
    assert second not in (None, 12)


SCALARS = st.one_of(
    st.text(), st.integers(), st.floats(allow_nan=False), st.booleans(), st.binary(), st.dates(), st.times(),
    st.datetimes(min_value=pd.Timestamp("1700").to_pydatetime(), max_value=pd.Timestamp("2200").to_pydatetime()),
    st.timedeltas(min_value=dt.timedelta(-1000), max_value=dt.timedelta(1000)), st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.one_of(SCALARS, st.none()), min_size=1, max_size=20))
def test_hashes_follow_the_texts(values):
    result = applied("hash", values, dtype=object)
    assert [one is None for one in result] == [value is None for value in values]
    texts = [None if value is None else text_of(value) for value in values]
    assert [[a == b for b in texts] for a in texts] == [[a == b for b in result] for a in result]
    assert all(one is None or (len(one) == 32 and set(one) <= set(string.hexdigits)) for one in result)


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.none()), min_size=1, max_size=20))
def test_many_rows_and_few_go_the_same_way(values):
    few = applied("hash", values, dtype="str")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "MANY", 1)
        assert applied("hash", values, dtype="str") == few
        assert applied("hash", values, dtype="category") == few


def test_each_distinct_value_is_hashed_once(monkeypatch):
    seen = []
    monkeypatch.setattr(rules, "digest", lambda key, text: seen.append(text) or text)
    for dtype in (object, "str", "category"):
        seen.clear()
        applied("hash", ["a", "b", None] * 1000, dtype=dtype)
        assert sorted(seen) == ["a", "b"]


@settings(deadline=None)
@given(st.text(), st.integers(0, 6))
def test_a_mask_shows_only_the_end_and_not_the_length(text, last):
    [shown] = applied(f"mask:{last}", [text], dtype=object)
    end = text[-last:] if 0 < last < len(text) else ""
    assert shown == "****" + end


def test_masks_of_what_is_no_text():
    assert applied("mask:2", [1234.0, 99, None], dtype="float64") == ["****34", "****", None]
    assert applied("mask", [True, False]) == ["****", "****"]
    assert applied("mask:4", [uuid.UUID(int=7)]) == ["****0007"]
    assert applied("mask:2", pd.Series(["2024-05-01"], dtype="datetime64[ns]")) == ["****00"]


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.sampled_from(["10", "1", "0.1", "0.25", "7", "1e-3", "1e6", "3.7"]))
def test_a_bucket_begins_at_or_below_its_value(value, width):
    [edge] = applied(f"bucket:{width}", [value])
    step = float(width)
    slack = 1e-9 * max(step, abs(value))
    assert edge - slack <= value < edge + step + slack
    assert edge == pytest.approx(round(edge / step) * step, rel=1e-12)


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("bucket:10", [39, 40, -1, 0], [30.0, 40.0, -10.0, 0.0]),
        ("bucket:0.1", [0.3, 0.29, 0.7, 1.1], [0.3, 0.2, 0.7, 1.1]),
        ("bucket:10", [np.inf, -np.inf], [np.inf, -np.inf]),
        ("bucket:18,65", [17, 18, 64.9, 65, 1e9, -np.inf], [0, 1, 1, 2, 2, 0]),
        ("bucket:10", pd.Series([39, 41], dtype="Int64"), [30.0, 40.0]),
        ("bucket:10", pd.Series([39.5, 41], dtype="category"), [30.0, 40.0]),
        ("bucket:10", pd.Series([decimal.Decimal(39), 41], dtype=object), [30.0, 40.0]),
        ("bucket:10", pd.Series([2**63 - 1], dtype="int64"), [9.223372036854775e18]),
    ],
)
def test_buckets(rule, values, expected):
    assert applied(rule, values) == pytest.approx(expected)


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False), min_size=1), st.lists(st.floats(-1e6, 1e6), min_size=2, unique=True)
)
def test_edges_keep_the_order(values, edges):
    values, edges = sorted(values), sorted(edges)
    assume(len({repr(edge) for edge in map(float, edges)}) == len(edges))
    result = apply_rule(ColumnRule("bucket", edges=tuple(edges)), pd.Series(values, dtype=float), None)
    assert result.tolist() == sorted(result)
    assert result.tolist() == [sum(edge <= value for edge in edges) for value in values]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("bucket:10", ["39"]),
        ("bucket:10", [True]),
        ("bucket:10", pd.Series(["2024-05-01"], dtype="datetime64[ns]")),
        ("bucket:10", [1j]),
        ("hash", [[1, 2]]),
        ("hash", [{"a": 1}]),
        ("mask", [np.zeros(3)]),
        ("mask", [object()]),
    ],
)
def test_what_a_rule_does_not_fit_is_refused_without_its_value(rule, values):
    column = values if isinstance(values, pd.Series) else pd.Series(values, dtype=object)
    with pytest.raises(CannotApplyError) as raised:
        apply_rule(ColumnRule.parse(rule), column, KEY)
    assert not any(character.isdigit() for character in str(raised.value))
