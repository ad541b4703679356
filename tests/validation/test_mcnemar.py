from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.validation.mcnemar import mcnemar

SPLITS = [(0, 0), (1, 0), (0, 5), (12, 3), (7, 7), (60, 41), (500, 560)]


@pytest.mark.parametrize(("wins", "losses"), SPLITS)
def test_exact_is_statsmodels(wins: int, losses: int) -> None:
    expected = reference([[50, wins], [losses, 40]], exact=True).pvalue
    assert mcnemar(wins, losses) == pytest.approx(expected)


@pytest.mark.parametrize(("wins", "losses"), SPLITS)
def test_one_sided_exact_is_scipys_binomial_test(wins: int, losses: int) -> None:
    if wins + losses:
        for alternative in ("greater", "less"):
            expected = stats.binomtest(wins, wins + losses, 0.5, alternative=alternative).pvalue
            assert mcnemar(wins, losses, alternative=alternative) == pytest.approx(expected)


def test_mid_p_is_fagerlands() -> None:
    # mid-p = exact - P(exactly this split), two-sided
    for wins, losses in ((12, 3), (1, 7), (60, 41)):
        expected = mcnemar(wins, losses) - stats.binom.pmf(wins, wins + losses, 0.5)
        assert mcnemar(wins, losses, method="mid-p") == pytest.approx(expected)


def test_sides_mirror() -> None:
    assert mcnemar(9, 4, alternative="greater") == pytest.approx(mcnemar(4, 9, alternative="less"))
    one, other = (
        mcnemar(9, 4, alternative="greater", method="mid-p"),
        mcnemar(9, 4, alternative="less", method="mid-p"),
    )
    assert one + other == pytest.approx(1)


@pytest.mark.parametrize("method", ["exact", "mid-p"])
def test_it_keeps_its_level_at_one_declared_n(method: str) -> None:
    rng = np.random.default_rng(0)
    differing = rng.binomial(1000, 0.1, 4000)
    wins = rng.binomial(differing, 0.5)
    p = np.array(
        [
            mcnemar(int(w), int(n - w), method=method, alternative="greater")
            for w, n in zip(wins, differing, strict=True)
        ]
    )
    assert 0.03 < np.mean(p < 0.05) < 0.06


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wins": -1}, "wins: must be an integer"),
        ({"losses": 2.5}, "losses: must be an integer"),
        ({"wins": True}, "wins: must be an integer"),
        ({"method": "asymptotic"}, "method: must be one of exact, mid-p"),
        ({"alternative": "better"}, "alternative: must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        mcnemar(**({"wins": 3, "losses": 2} | arguments))
