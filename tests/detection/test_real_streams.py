"""What ``detect`` says of published streams; the longer scans are in ``benchmarks/detection/real.py``."""

import numpy as np
import pytest

from mlflow_drift import detect
from mlflow_drift.config import Settings
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.streams import load_stream

DATA_HOME = Settings.load(file=None).data_home
VICTORIA = {"vicprice", "vicdemand", "transfer"}
OPENED = 17_424
"""The row of Electricity from which on the Victorian columns vary."""


def read(name):
    if DATA_HOME is None:
        pytest.skip("MLFLOW_DRIFT_DATA_HOME is not set")
    if not (DATA_HOME / f"{name}.csv.gz").exists():
        pytest.skip(f"{name}.csv.gz is not in {DATA_HOME}")
    return load_stream(name)


@pytest.fixture(scope="module")
def electricity():
    rows = read("elec2").drop(columns=["date", "class"])
    return rows, ReferenceProfile.fit(rows[:8736])


@pytest.fixture(scope="module")
def adult():
    return read("adult").drop(columns="income")


def test_the_victorian_columns_are_blamed_from_the_day_their_market_joined(electricity):
    rows, profile = electricity
    before = detect(profile, rows[OPENED - 2688 : OPENED])
    assert not VICTORIA & set(before.drifting_features(7))
    after = detect(profile, rows[OPENED : OPENED + 2688])
    assert after.drift_detected
    assert set(after.drifting_features(7)) >= VICTORIA
    assert after.severity > 0.9


def test_the_set_of_the_onset_holds_the_day_the_market_opened(electricity):
    rows, profile = electricity
    start = 16_800
    report = detect(profile, rows[start : start + 2688])
    assert set(report.drifting_features(7)) >= VICTORIA
    assert report.onset.low <= OPENED - start <= report.onset.high
    assert report.onset.high - report.onset.low < 2688 / 2


def test_shuffled_rows_of_adult_alarm_no_more_often_than_alpha(adult):
    n, alarms = 40, 0
    for seed in range(n):
        order = np.random.default_rng(seed).permutation(len(adult))
        report = detect(adult.iloc[order[:5000]], adult.iloc[order[5000:6000]], random_state=seed)
        alarms += report.drift_detected
        assert report.severity < 0.1
    # Of 40 windows at 5 %, more than 6 alarm with probability 0.003.
    assert alarms <= 6


def test_too_many_women_are_noticed(adult):
    rng = np.random.default_rng(0)
    order = rng.permutation(len(adult))
    women = order[6000:][adult["sex"].to_numpy()[order[6000:]] == "Female"]
    window = rng.permutation(np.concatenate([order[5000:5800], women[:200]]))
    report = detect(adult.iloc[order[:5000]], adult.iloc[window])
    assert report.drift_detected
    assert "sex" in report.drifting_features(10)


def test_drifting_mail_is_found_in_a_column_of_text_and_shuffled_mail_is_not():
    texts = read("spam_assassin_tokens")[["tokens"]]
    profile = ReferenceProfile.fit(texts[:1864])
    assert profile.texts == ("tokens",)
    report = detect(profile, texts[7364:7864])
    assert report.drift_detected
    assert report.severity > 0.3
    order = np.random.default_rng(0).permutation(len(texts))
    assert not detect(texts.iloc[order[:1864]], texts.iloc[order[1864:2364]]).drift_detected


def test_messages_with_more_spam_than_usual_are_found():
    messages = read("sms_spam")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(messages))
    spam = np.flatnonzero(messages["label"] == "spam")
    known, rest = order[:2000], order[2000:]
    ham_mostly = rest[:400]
    more = rng.permutation(np.concatenate([ham_mostly, np.intersect1d(rest[400:], spam)[:200]]))
    text = messages[["text"]]
    assert detect(text.iloc[known], text.iloc[more]).drift_detected
    assert not detect(text.iloc[known], text.iloc[rest[:600]]).drift_detected
