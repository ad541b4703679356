"""Whom attribution blames: marginal KS, conditional KS and impact, of the cause, its correlate, an ignored feature and a used one.

    python benchmarks/calibration/attribution.py [--windows 300] [--out benchmarks/results/attribution.json]

x0 shifts by .5 sd; x1 = .9 x0 + noise follows it; x3 shifts by .3 sd and the model depends on it most; x5 shifts by .8 sd
and the model ignores it. The model is a logistic regression on x0, x2, x3 (fitted to all). 3,000 reference rows, 1,500
current ones, each window on a fresh seed. "blamed" is the share of windows with an adjusted p-value of at most .05.

The second table is the level of the conditional test where x0 shifts by 1 sd and x1 follows it in other ways; the third
is how often segments are found where nothing changed, and where error rose in one corner.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge

import mlflow_drift
from mlflow_drift.assessment.attribution import attribute_change
from mlflow_drift.assessment.conditional import conditional_drift
from mlflow_drift.assessment.slices import find_slices
from mlflow_drift.reference import kind_of

ALPHA = 0.05
SEED = 9_000
D = 8
ROLES = {
    0: "cause",
    1: "correlate",
    3: "used",
    5: "ignored by the model",
    2: "still and used",
    7: "still and unused",
}
Draw = Callable[[np.random.Generator, int, float], pd.DataFrame]


def world(rng: np.random.Generator, n: int, drift: float) -> pd.DataFrame:
    X = rng.standard_normal((n, D))
    X[:, 0] += 0.5 * drift
    X[:, 1] = 0.9 * X[:, 0] + 0.44 * rng.standard_normal(n)
    X[:, 3] += 0.3 * drift
    X[:, 5] += 0.8 * drift
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(D)])


def follows(how: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Draw:
    def draw(rng: np.random.Generator, n: int, drift: float) -> pd.DataFrame:
        cause = rng.normal(drift, 1, n)
        return pd.DataFrame({"cause": cause, "follows": how(cause, rng), "other": rng.normal(size=n)})

    return draw


RELATIONS: dict[str, Draw] = {
    "linear": follows(lambda x, rng: 0.9 * x + 0.44 * rng.normal(size=len(x))),
    "square": follows(lambda x, rng: x**2 + 0.5 * rng.normal(size=len(x))),
    "scale": follows(lambda x, rng: (0.3 + np.abs(x)) * rng.normal(size=len(x))),
    "heavy-tailed": follows(lambda x, rng: np.exp(1.5 * (0.9 * x + 0.44 * rng.normal(size=len(x))))),
    "category": follows(
        lambda x, rng: np.array(list("abcd"), dtype=object)[
            np.digitize(x + rng.normal(size=len(x)), [-1, 0, 1])
        ]
    ),
    "missingness": follows(
        lambda x, rng: np.where(rng.random(len(x)) < 1 / (1 + np.exp(2 - x)), np.nan, rng.normal(size=len(x)))
    ),
}


def summary(values: list[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=float)
    return {
        "mean": round(float(array.mean()), 4),
        "standard_error": round(float(array.std(ddof=1) / np.sqrt(len(array))), 4),
    }


def blame(windows: int) -> list[dict[str, object]]:
    columns: dict[tuple[int, str], list[float]] = {}
    whole: dict[str, list[float]] = {name: [] for name in ("total", "remainder", "interaction", "dependence")}
    for window in track(range(windows), description="blame", transient=True):
        rng = np.random.default_rng([SEED, window])
        reference, current = world(rng, 3000, 0.0), world(rng, 1500, 1.0)
        logit = 2 * reference["x3"] + 0.7 * reference["x0"] + 0.5 * reference["x2"]
        model = LogisticRegression().fit(reference, rng.random(3000) < 1 / (1 + np.exp(-logit)))
        conditional = conditional_drift(reference, current, ("numeric",) * D, seed=window)
        change = attribute_change(model.predict_proba, reference, current, ("numeric",) * D, seed=window)
        for name, values in whole.items():
            values.append(getattr(change, name))
        half = len(reference) // 2
        for j in range(D):
            others = [f"x{k}" for k in range(D) if k != j]
            ridge = Ridge(1.0).fit(reference[others][:half], reference[f"x{j}"][:half])
            plain = stats.ks_2samp(
                reference[f"x{j}"][half:] - ridge.predict(reference[others][half:]),
                current[f"x{j}"] - ridge.predict(current[others]),
            ).statistic
            row = {
                "marginal_ks": stats.ks_2samp(reference[f"x{j}"], current[f"x{j}"]).statistic,
                "plain_residual_ks": plain,
                "conditional_ks": conditional["conditional_ks"][j],
                "blamed_conditionally": conditional["conditional_p"][j] <= ALPHA,
                "impact": change.features["impact"][j],
                "impact_signed": change.features["impact_signed"][j],
            }
            for name, value in row.items():
                columns.setdefault((j, name), []).append(value)
    table: list[dict[str, object]] = [
        {"feature": f"x{j}", "role": role, **{name: summary(v) for (k, name), v in columns.items() if k == j}}
        for j, role in ROLES.items()
    ]
    return [
        *table,
        {"feature": "the mean score", **{name: summary(values) for name, values in whole.items()}},
    ]


def levels(windows: int) -> list[dict[str, object]]:
    found = []
    for name, draw in RELATIONS.items():
        for drift in (0.0, 1.0):
            p = []
            for window in track(range(windows), description=name, transient=True):
                rng = np.random.default_rng([SEED + 1, window])
                reference, current = draw(rng, 3000, 0.0), draw(rng, 1500, drift)
                kinds = [kind_of(reference[column]) for column in reference]
                p.append(
                    conditional_drift(reference, current, kinds, seed=window)["conditional_p"].to_numpy()
                    <= ALPHA
                )
            blamed = np.array(p)
            found.append(
                {
                    "relation": name,
                    "shift_of_cause": drift,
                    "cause_blamed": summary(blamed[:, 0].tolist()),
                    "any_other_blamed": summary(blamed[:, 1:].any(axis=1).tolist()),
                }
            )
    return found


def segments(windows: int) -> list[dict[str, object]]:
    def rows(rng: np.random.Generator, n: int) -> pd.DataFrame:
        frame = pd.DataFrame(rng.normal(size=(n, 10)), columns=[f"x{j}" for j in range(10)])
        return frame.assign(
            age=rng.integers(18, 80, n), region=rng.choice(["north", "south", "east", "west"], n)
        )

    outcomes: dict[str, list[float]] = {
        name: [] for name in ("false: drift", "false: error", "found: corner", "covered: corner")
    }
    for window in track(range(windows), description="segments", transient=True):
        rng = np.random.default_rng([SEED + 2, window])
        reference, current = rows(rng, 4000), rows(rng, 4000)
        outcomes["false: drift"].append(bool(find_slices(reference, current, seed=window)))
        before, now = (rng.random(4000) < 0.1 for _ in range(2))
        outcomes["false: error"].append(
            bool(find_slices(reference, current, losses=now, reference_losses=before, seed=window))
        )
        corner = (current["age"] > 50) & (current["region"] == "north")
        worse = rng.random(4000) < 0.1 + 0.2 * corner
        found = find_slices(reference, current, losses=worse, reference_losses=before, seed=window)
        right = [s for s in found if "region = north" in s.condition and "age >" in s.condition]
        outcomes["found: corner"].append(bool(right))
        if right:
            literal = right[0].condition.split(" & ")
            age = float(next(part for part in literal if part.startswith("age >")).split(" > ")[1])
            inside = (current["age"] > age) & (current["region"] == "north")
            chance = 0.2 * corner
            outcomes["covered: corner"].append(
                right[0].low <= chance[inside].mean() - chance[~inside].mean() <= right[0].high
            )
    return [{"case": name, **summary(values), "windows": len(values)} for name, values in outcomes.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/attribution.json"))
    arguments = parser.parse_args()
    started = time.time()
    result = {
        "command": f"python benchmarks/calibration/attribution.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "nominal": ALPHA,
        "windows": arguments.windows,
        "blame": blame(arguments.windows),
        "conditional_level": levels(arguments.windows),
        "segments": segments(arguments.windows),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for table in ("blame", "conditional_level", "segments"):
        for row in result[table]:
            print({k: v["mean"] if isinstance(v, dict) else v for k, v in row.items()})
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
