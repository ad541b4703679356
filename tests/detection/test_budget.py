import datetime as dt
import json

import numpy as np
import pytest

from mlflow_drift.detection.budget import DriftBudget
from mlflow_drift.errors import InvalidInputError

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)
HOUR = dt.timedelta(hours=1)


def test_a_check_gets_the_share_of_time_that_has_passed():
    budget = DriftBudget(per="90d")
    assert budget.alpha("1h") == pytest.approx(1 / (90 * 24))
    assert budget.alpha() == pytest.approx(1 / 90)
    assert budget.alpha(dt.timedelta(days=3)) == pytest.approx(3 / 90)


def test_after_a_long_silence_the_level_is_capped():
    assert DriftBudget(per="90d", most=0.02).alpha("60d") == 0.02


def test_irregular_checks_spend_no_more_than_the_time_they_took():
    rng = np.random.default_rng(0)
    budget = DriftBudget(per="30d", interval="1h", checked=NOON)
    now, spent = NOON, 0.0
    for minutes in rng.exponential(200, 300):
        now += dt.timedelta(minutes=minutes)
        alpha, budget = budget.spend(now)
        assert 0 < alpha <= 0.05
        spent += alpha
    assert spent <= (now - NOON) / dt.timedelta(days=30) + 1e-12


def test_checks_brought_forward_gain_nothing():
    regular = DriftBudget(per="30d", checked=NOON).spend(NOON + 4 * HOUR)[0]
    early, later = DriftBudget(per="30d", checked=NOON).spend(NOON + HOUR)
    assert early + later.spend(NOON + 4 * HOUR)[0] == pytest.approx(regular)


def test_the_first_check_counts_as_one_interval():
    alpha, budget = DriftBudget(per="10d", interval="6h").spend(NOON)
    assert alpha == pytest.approx(6 / 240)
    assert budget.checked == NOON


def test_a_budget_is_not_changed_by_spending():
    budget = DriftBudget(checked=NOON)
    budget.spend(NOON + HOUR)
    assert budget.checked == NOON


def test_time_zones_are_told_apart():
    budget = DriftBudget(per="30d", checked=NOON)
    tokyo = (NOON + HOUR).astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert budget.spend(tokyo)[0] == pytest.approx(1 / 720)


@pytest.mark.parametrize("now", [NOON, NOON - HOUR])
def test_one_moment_can_be_spent_once(now):
    with pytest.raises(InvalidInputError, match="must be later than the last check"):
        DriftBudget(checked=NOON).spend(now)


@pytest.mark.parametrize("now", ["2026-01-01", dt.datetime(2026, 1, 1), None])  # noqa: DTZ001
def test_a_moment_has_a_time_zone(now):
    with pytest.raises(InvalidInputError, match="must be a datetime with a time zone"):
        DriftBudget().spend(now)


@pytest.mark.parametrize(
    "options",
    [{"per": "soon"}, {"per": dt.timedelta(0)}, {"interval": "-1h"}, {"most": 0}, {"most": 1.5}, {"per": 90}],
)
def test_senseless_budgets_are_refused(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        DriftBudget(**options)


@pytest.mark.parametrize("checked", [None, NOON])
def test_it_survives_json(checked):
    budget = DriftBudget(per="45d", interval="90m", most=0.01, checked=checked)
    assert DriftBudget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget


@pytest.mark.parametrize("stored", [{}, None, {"per": "x", "interval": 1, "most": 0.1, "checked": None}])
def test_anything_else_is_not_a_stored_budget(stored):
    with pytest.raises(InvalidInputError, match="stored"):
        DriftBudget.from_dict(stored)


def test_a_stored_moment_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match="stored"):
        DriftBudget.from_dict(DriftBudget().to_dict() | {"checked": "yesterday"})


def test_a_week_of_hourly_checks_hardly_ever_alarms_where_naive_ones_surely_do():
    p = np.random.default_rng(1).random((2000, 168))
    alpha = DriftBudget(per="90d").alpha("1h")
    naive, budgeted = (p <= 0.05).any(axis=1).mean(), (p <= alpha).any(axis=1).mean()
    assert naive > 0.99
    assert budgeted == pytest.approx(1 - (1 - alpha) ** 168, abs=4 * np.sqrt(0.075 * 0.925 / 2000))
    assert budgeted <= 168 / (90 * 24)
