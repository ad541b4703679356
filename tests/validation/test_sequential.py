from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.validation.sequential import (
    anytime_p,
    betting_e_process,
    block_sums,
    mean_lower_bounds,
    sign_e_process,
    sign_log_e,
)

counts = st.integers(0, 400)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (0, 1), (10, 1), (1, 10), (37, 29), (200, 150)])
def test_the_sign_e_value_is_the_mixture_it_claims(b: int, c: int) -> None:
    expected, _ = integrate.quad(lambda t: 2 * (2 * t) ** b * (2 * (1 - t)) ** c, 0.5, 1, epsrel=1e-10)
    assert np.exp(sign_log_e(b, c)) == pytest.approx(expected, rel=1e-7)


@given(counts, counts)
def test_the_sign_e_process_is_a_fair_game(b: int, c: int) -> None:
    after = (np.exp(sign_log_e(b + 1, c)) + np.exp(sign_log_e(b, c + 1))) / 2
    assert after == pytest.approx(float(np.exp(sign_log_e(b, c))), rel=1e-6)


@pytest.mark.parametrize(("b", "c"), [(0, 5000), (10, 20_000), (0, 10**6)])
def test_hopeless_paths_stay_finite(b: int, c: int) -> None:
    assert float(sign_log_e(b, c)) == pytest.approx(-np.log(c - b), rel=2e-3)


def test_hopeful_paths_stay_finite() -> None:
    assert np.isfinite(sign_log_e(10**6, 0))


def test_a_path_is_what_counting_gives() -> None:
    signs = np.random.default_rng(0).integers(-1, 2, 300)
    expected = [float(sign_log_e((signs[: n + 1] > 0).sum(), (signs[: n + 1] < 0).sum())) for n in range(300)]
    np.testing.assert_allclose(sign_e_process(signs), expected)


def test_looking_at_every_row_keeps_the_sign_tests_level() -> None:
    # 400 equal challengers over 20,000 rows, 10 % of which differ. McNemar at every 200th row deploys a quarter.
    rng = np.random.default_rng(1)
    signs = rng.choice([-1, 1], (400, 2000))
    wins = np.cumsum(signs > 0, axis=1)
    e = sign_log_e(wins, np.arange(1, 2001) - wins)
    assert np.mean(e.max(axis=1) >= np.log(20)) <= 0.05


def test_the_sign_test_finds_a_better_challenger() -> None:
    # Wins 60 % of the rows on which they differ: +.02 accuracy at 10 % disagreement.
    rng = np.random.default_rng(2)
    wins = np.cumsum(rng.random((200, 1000)) < 0.6, axis=1)
    found = sign_log_e(wins, np.arange(1, 1001) - wins) >= np.log(20)
    assert found.any(axis=1).mean() > 0.95
    assert 100 < np.median(found.argmax(axis=1)) < 350


def test_blocks_keep_the_level_where_disagreement_comes_in_regimes() -> None:
    rng = np.random.default_rng(3)
    rows, blocks = 0, 0
    for _ in range(300):
        theta = np.repeat(np.clip(0.5 + 0.35 * rng.standard_normal(200), 0.02, 0.98), 10)
        signs = np.where(rng.random(2000) < theta, 1, -1)
        rows += sign_e_process(signs).max() >= np.log(20)
        blocks += sign_e_process(np.sign(block_sums(signs, 10))).max() >= np.log(20)
    assert rows / 300 > 0.3
    assert blocks / 300 <= 0.06


@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_betting_is_a_losing_game_at_the_margin(margin: float) -> None:
    # One step from every point of the hypothesis' boundary with values in {-1, 0, 1}.
    for differing in (margin, 0.3, 1.0):
        lose = (differing + margin) / 2
        win = differing - lose
        steps = np.exp([betting_e_process([d], margin)[-1] for d in (1, 0, -1)])
        assert steps @ [win, 1 - differing, lose] <= 1 + 1e-12


def test_looking_at_every_row_keeps_bettings_level() -> None:
    rng = np.random.default_rng(4)
    accepted = 0
    for _ in range(400):
        u = rng.random(5000)
        difference = np.where(u < 0.04, 1.0, np.where(u < 0.10, -1.0, 0.0))  # mean -.02, the margin
        accepted += betting_e_process(difference, 0.02).max() >= np.log(20)
    assert accepted / 400 <= 0.05


def test_betting_proves_both_no_loss_and_loss() -> None:
    rng = np.random.default_rng(5)
    u = rng.random(4000)
    better = np.where(u < 0.06, 1.0, np.where(u < 0.10, -1.0, 0.0))
    worse = np.where(u < 0.02, 1.0, np.where(u < 0.10, -1.0, 0.0))
    assert betting_e_process(better)[-1] > np.log(20) > betting_e_process(-better, -0.02)[-1]
    assert betting_e_process(-worse, -0.02)[-1] > np.log(20) > betting_e_process(worse)[-1]


def test_the_confidence_sequence_holds_at_all_times_and_is_not_idle() -> None:
    rng = np.random.default_rng(6)
    values = rng.standard_exponential((400, 2000))
    bounds = np.array([mean_lower_bounds(row, 0.05) for row in values])
    assert np.mean((bounds[:, 7:] > 1).any(axis=1)) <= 0.06
    assert np.median(bounds[:, -1]) > 0.9
    assert np.isinf(bounds[:, :7]).all()


def test_anytime_p_never_rises() -> None:
    path = sign_e_process(np.random.default_rng(7).choice([-1, 1], 500))
    p = anytime_p(path)
    assert (np.diff(p) <= 0).all()
    assert p[0] <= 1
    assert p[-1] == pytest.approx(min(1, np.exp(-path.max())))


def test_sums_of_blocks_leave_the_rest() -> None:
    np.testing.assert_array_equal(block_sums(np.arange(7), 3), [3, 12])
    assert len(block_sums([1, 2], 5)) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "signs: must be 1-D and hold at least one"),
        ([[1, -1]], "signs: must be 1-D"),
        ([1, np.nan], "signs: must not miss values"),
        (["up"], "signs: must be numbers"),
        (None, "signs: must"),
    ],
)
def test_bad_series_are_named(values: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        sign_e_process(values)


def test_bad_bets_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"differences: must lie in \[-1, 1\]; got 2"):
        betting_e_process([0, 2])
    for margin in (1.0, -1, "2%", None, True):
        with pytest.raises(InvalidInputError, match="margin: must be a number in"):
            betting_e_process([0], margin)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="wins, losses"):
        sign_log_e([1, 2], [1])
    with pytest.raises(InvalidInputError, match="wins, losses"):
        sign_log_e(-1, 2)
