"""Published streams, scanned in time order and shuffled: what is found, since when, and whether it mattered to a model.

    MLFLOW_DRIFT_DATA_HOME=… python -m benchmarks.detection.real [--windows 300] [--only NAME] [--out FILE]

Of each stream the first rows are the reference, and consecutive windows of the rest are compared with it. Beside
the severity stands the error of a model that was trained on the reference. As controls, a reference and a window
are drawn from all rows at random, --windows times: then nothing has drifted, and the share of alarms must be alpha.
So they are from runs of consecutive rows, such as weeks: nothing has drifted, but neighbours resemble each other, and
the share must be at most alpha. Where rows can be chosen (Adult, SMS), windows with too many of one kind must alarm.

Writes a table, JSON, and a picture a stream beside it (real_<stream>.svg). Results are written after each stream, into
those of --out that are there already.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.detection.rates import rate
from benchmarks.peers.children import about, write_result
from mlflow_drift import detect
from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.report.figures import INK
from mlflow_drift.streams import load_stream
from mlflow_drift.text import project_text
from mlflow_drift.values import DriftReport

mpl.use("Agg")
import matplotlib.pyplot as plt

ALPHA = 0.05
LEVELS = (0.01, 0.05, 0.1, 0.5)
CONTROL_WINDOWS = 20
COLOURS = {"DRIFT": INK["accent"], "NO_DRIFT": INK["calm"], "INCONCLUSIVE": INK["muted"]}


def trees() -> Any:
    return HistGradientBoostingClassifier(random_state=0, categorical_features="from_dtype")


def of_words() -> Any:
    return LogisticRegression(max_iter=1000)


def of_texts() -> Any:
    return make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), LogisticRegression(C=10, max_iter=1000))


@dataclass(frozen=True)
class Control:
    """Windows in which a share of the rows was replaced by rows of one kind."""

    what: str
    column: str
    is_one: Callable[[pd.Series], pd.Series]
    share: float = 1.0


@dataclass(frozen=True)
class Stream:
    """A published stream, and how it is scanned.

    ``reference`` and ``window`` are numbers of rows, and so are ``shuffled``: how many stay together.
    """

    name: str
    file: str
    label: str
    reference: int
    window: int
    about: str
    learner: Callable[[], Any] = trees
    dropped: tuple[str, ...] = ()
    text: str = ""
    breaks_at: int | None = None
    blamed: tuple[str, ...] = ()
    block_length: int | None = None
    controls: tuple[Control, ...] = ()
    shuffled: tuple[int, ...] = (1,)
    rows: Callable[[pd.DataFrame], pd.DataFrame] = field(default=lambda rows: rows)

    def read(self) -> tuple[pd.DataFrame, pd.Series]:
        """Return features and labels in time order."""
        rows = self.rows(load_stream(self.file)).reset_index(drop=True)
        return rows.drop(columns=[self.label, *self.dropped]), rows[self.label]


YEAR, KNOWN_YEARS = 365.25, 10


def winters(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave December to February; of 30 years, as later so many days are missing that the place tells no season."""
    rows = rows[: round(30 * YEAR)]
    return rows[((np.arange(len(rows)) + 31) % YEAR) < 90]


def noaa(name: str, about: str, window: int, **other: Any) -> Stream:
    return Stream(name, "noaa_weather", "rain", round(KNOWN_YEARS * YEAR), window, about, **other)


_SPAM = "spam_assassin"
STREAMS = (
    Stream(
        "elec2",
        "elec2",
        "class",
        26 * 7 * 48,
        8 * 7 * 48,
        "26 weeks against windows of 8; Victoria joins at row 17,424",
        dropped=("date",),
        breaks_at=17_424,
        blamed=("vicprice", "vicdemand", "transfer"),
        shuffled=(1, 7 * 48),
    ),
    noaa(
        "noaa_seasons",
        "10 years against windows of a season, blocks of a week: seasons are drift",
        91,
        block_length=7,
        shuffled=(),
    ),
    noaa(
        "noaa_years",
        "10 years against windows of a year, blocks of 45 days",
        365,
        block_length=45,
        shuffled=(),
    ),
    noaa("noaa_5_years", "10 years against windows of 5 years", round(5 * YEAR), shuffled=(1, 30)),
    Stream(
        "noaa_winters",
        "noaa_weather",
        "rain",
        KNOWN_YEARS * 90,
        5 * 90,
        "the winters of 10 years against those of 5",
        rows=winters,
    ),
    Stream(
        "spam_500",
        f"{_SPAM}_500",
        "spam",
        1864,
        500,
        "mails in order of arrival, 500 words of which each occurs or not",
        learner=of_words,
        shuffled=(1, 50),
    ),
    Stream(
        "spam_tokens",
        f"{_SPAM}_tokens",
        "spam",
        1864,
        500,
        "the same mails as a column of text, all words",
        learner=of_texts,
        text="tokens",
        shuffled=(1, 50),
    ),
    Stream(
        "sms_spam",
        "sms_spam",
        "label",
        2000,
        500,
        "short messages as text, in no order",
        learner=of_texts,
        text="text",
        controls=(
            Control("one in five rows replaced by spam", "label", lambda label: label == "spam", 0.2),
            Control("half of the rows replaced by spam", "label", lambda label: label == "spam", 0.5),
        ),
    ),
    Stream(
        "adult",
        "adult",
        "income",
        15_000,
        1000,
        "a census extract, in no order: nothing drifts",
        controls=(
            Control("women only", "sex", lambda sex: sex == "Female"),
            Control("one in five rows replaced by women", "sex", lambda sex: sex == "Female", 0.2),
            Control("up to 25 years old only", "age", lambda age: age <= 25),
            Control("one in ten rows replaced by people up to 25", "age", lambda age: age <= 25, 0.1),
            Control("born in Mexico only", "native-country", lambda country: country == "Mexico"),
            Control("one in twenty rows replaced by people born in Mexico", "native-country", lambda country: country == "Mexico", 0.05),
        ),
    ),
)  # fmt: skip


@dataclass
class Scanned:
    """One comparison, timed."""

    report: DriftReport
    cpu_s: float
    warned: list[str]

    @classmethod
    def of(cls, profile: ReferenceProfile, window: pd.DataFrame, **options: Any) -> Scanned:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            began = time.process_time()
            report = detect(profile, window, alpha=ALPHA, **options)
            spent = time.process_time() - began
        return cls(report, spent, [f"{one.category.__name__}: {one.message}" for one in caught])


def written(scanned: Scanned, start: int) -> dict[str, Any]:
    """Return what the result keeps of a comparison; rows of the onset are the stream's own."""
    report = scanned.report
    onset = report.onset
    blamed = report.drifting_features(1000)
    return {
        "start": start,
        "rows": report.n_current,
        "verdict": report.verdict.value,
        "p": report.p_value,
        "severity": round(report.severity, 4),
        "severity_interval": [round(bound, 4) for bound in report.severity_interval],
        "blamed": blamed[:5],
        "n_blamed": len(blamed),
        "worst": None if report.worst is None else report.worst.name,
        "onset": None
        if onset is None
        else {
            "row": start + onset.row,
            "set": [start + onset.low, start + onset.high],
            "gradual": round(onset.gradual, 3),
            "width": onset.width,
        },
        "block_length": report.block_length,
        "cpu_s": round(scanned.cpu_s, 4),
    }


def errors_of_model(stream: Stream, X: pd.DataFrame, y: pd.Series) -> tuple[np.ndarray[Any, Any], float]:
    """Return which labels a model of the reference gets wrong, and its share of errors on the reference (5 folds)."""
    inputs: Any = X[stream.text].fillna("") if stream.text else as_categories(X)
    model, known = stream.learner(), stream.reference
    expected = cross_val_predict(model, inputs[:known], y[:known], cv=KFold(5))
    model.fit(inputs[:known], y[:known])
    return np.asarray(model.predict(inputs) != y), float(np.mean(expected != y[:known]))


def as_categories(X: pd.DataFrame) -> pd.DataFrame:
    """Return columns of strings as categories, which trees take."""
    strings = X.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes]]
    return X.astype(dict.fromkeys(strings, "category"))


def scan(stream: Stream, X: pd.DataFrame, y: pd.Series) -> dict[str, Any]:
    """Compare consecutive windows with the reference."""
    began = time.process_time()
    profile = ReferenceProfile.fit(X[: stream.reference])
    fitted = time.process_time() - began
    wrong, expected = errors_of_model(stream, X, y)
    starts = range(stream.reference, len(X) - stream.window + 1, stream.window)
    windows, warned = [], Counter[str]()
    for start in track(list(starts), description=f"{stream.name}: in order", transient=True):
        part = slice(start, start + stream.window)
        scanned = Scanned.of(profile, X[part], block_length=stream.block_length)
        warned.update(scanned.warned)
        windows.append(written(scanned, start) | {"label_error": round(float(wrong[part].mean()), 4)})
    found = {
        "windows": windows,
        "verdicts": dict(Counter(window["verdict"] for window in windows)),
        "label_error_of_reference": round(expected, 4),
        "severity_and_label_error": agreement(windows),
        "cpu_s_of_fit": round(fitted, 3),
        "cpu_s_a_window": round(float(np.median([window["cpu_s"] for window in windows])), 4),
        "warnings": dict(warned),
    }
    if stream.block_length is not None:
        found["by_default"] = by_default(profile, [X[start : start + stream.window] for start in starts])
    if stream.breaks_at is not None:
        found["known_break"] = known_break(stream, windows)
    return found


def by_default(profile: ReferenceProfile, windows: list[pd.DataFrame]) -> dict[str, Any]:
    """Return the verdicts where no block length is given, and one reason."""
    reports = [Scanned.of(profile, window).report for window in windows]
    return {
        "verdicts": dict(Counter(report.verdict.value for report in reports)),
        "reason": reports[0].reason,
    }


def agreement(windows: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return the rank correlation of severity and label error over the windows that have a verdict."""
    told = [window for window in windows if window["verdict"] != "INCONCLUSIVE"]
    severities, errors = ([window[key] for window in told] for key in ("severity", "label_error"))
    if len(told) < 5 or len(set(severities)) == 1:
        return None
    found = stats.spearmanr(severities, errors)
    return {"spearman": round(float(found.statistic), 3), "windows": len(told)}


def known_break(stream: Stream, windows: list[dict[str, Any]]) -> dict[str, Any]:
    """Say whether the window that holds the break has it in its onset set, and blames what broke."""
    at = stream.breaks_at
    assert at is not None
    holding = next(window for window in windows if window["start"] <= at < window["start"] + window["rows"])
    after = [window for window in windows if window["start"] > at]
    low, high = (holding["onset"] or {"set": (np.inf, -np.inf)})["set"]
    return {
        "row": at,
        "window_start": holding["start"],
        "onset": holding["onset"],
        "onset_set_holds_it": bool(low <= at <= high),
        "blamed_before": sorted(
            {name for window in windows if window["start"] < holding["start"] for name in window["blamed"]}
            & set(stream.blamed)
        ),
        "blamed": [name for name in stream.blamed if name in holding["blamed"]],
        "windows_after_that_blame_all": sum(set(stream.blamed) <= set(window["blamed"]) for window in after),
        "windows_after": len(after),
    }


def draws(stream: Stream, n_rows: int, windows: int, run: int = 1) -> Iterator[tuple[int, Any, Any, Any]]:
    """Yield disjoint rows at random, in runs of consecutive ones: a reference, a window, and what is left."""
    a, b = stream.reference, stream.reference + stream.window
    what = "shuffled" if run == 1 else f"shuffled in runs of {run}"
    for number in track(range(windows), description=f"{stream.name}: {what}", transient=True):
        rng = np.random.default_rng([number, n_rows, run])
        starts = rng.permutation(n_rows // run) * run
        order = (starts[:, None] + np.arange(run)).ravel()
        yield number, order[:a], order[a:b], order[b:]


def in_numbers(stream: Stream, X: pd.DataFrame) -> pd.DataFrame:
    """Return text as the numbers that are compared in its place: the same for every draw."""
    return project_text(X[stream.text], stream.text) if stream.text else X


def shuffled(stream: Stream, X: pd.DataFrame, windows: int, run: int) -> dict[str, Any]:
    """Compare windows with references when all are drawn at random: the rates are false alarms."""
    rows, p_values, verdicts, warned = in_numbers(stream, X), [], Counter[str](), Counter[str]()
    for number, known, window, _ in draws(stream, len(rows), windows, run):
        profile = ReferenceProfile.fit(rows.iloc[known])
        scanned = Scanned.of(profile, rows.iloc[window], random_state=number)
        p_values.append(scanned.report.p_value)
        verdicts[scanned.report.verdict.value] += 1
        warned.update(scanned.warned)
    return {
        "run": run,
        "alarms": {f"{level:g}": rate([p <= level for p in p_values]) for level in LEVELS},
        "kolmogorov_smirnov_p_of_uniform": round(float(stats.kstest(p_values, "uniform").pvalue), 4),
        "verdicts": dict(verdicts),
        "p_values": sorted(round(p, 4) for p in p_values),
        "warnings": dict(warned),
    }


def controlled(stream: Stream, X: pd.DataFrame, y: pd.Series, control: Control) -> dict[str, Any]:
    """Compare windows with too many rows of one kind: the rates are detections."""
    rows = in_numbers(stream, X)
    of_kind = control.is_one(y if control.column == stream.label else X[control.column]).to_numpy()
    flags, severities, blamed = [], [], Counter[str]()
    for number, known, window, left in draws(stream, len(rows), CONTROL_WINDOWS):
        kind = left[of_kind[left]][: round(control.share * len(window))]
        mixed = np.concatenate([window[: round(len(kind) * (1 / control.share - 1))], kind])
        mixed = np.random.default_rng(number).permutation(mixed)
        profile = ReferenceProfile.fit(rows.iloc[known])
        report = Scanned.of(profile, rows.iloc[mixed], random_state=number).report
        flags.append(report.drift_detected)
        severities.append(report.severity)
        blamed.update(report.drifting_features(1000))
    return {
        "control": control.what,
        "rows": len(mixed),
        "detections": rate(flags),
        "median_severity": round(float(np.median(severities)), 3),
        "blamed_in": dict(blamed.most_common(5)),
    }


def measure(stream: Stream, windows: int) -> dict[str, Any]:
    X, y = stream.read()
    return {
        "stream": stream.name,
        "about": stream.about,
        "rows": len(X),
        "features": X.shape[1],
        "reference_rows": stream.reference,
        "window_rows": stream.window,
        "in_order": scan(stream, X, y),
        "shuffled": [shuffled(stream, X, windows, run) for run in stream.shuffled if windows],
        "controls": [controlled(stream, X, y, control) for control in stream.controls],
    }


def draw_scan(stream: Stream, found: dict[str, Any], path: Path) -> None:
    """Draw severity with its interval over time, verdicts and onset sets; below it the label error."""
    scanned = found["in_order"]
    windows = scanned["windows"]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 5), sharex=True, height_ratios=[1.6, 1], layout="constrained"
    )
    for verdict, colour in COLOURS.items():
        some = [window for window in windows if window["verdict"] == verdict]
        if some:
            x = [window["start"] + window["rows"] / 2 for window in some]
            y = np.array([window["severity"] for window in some])
            low, high = np.array([window["severity_interval"] for window in some]).T
            above.errorbar(
                x, y, yerr=np.maximum([y - low, high - y], 0), fmt="o", color=colour, ms=4, lw=1.2,
                label=verdict.lower().replace("_", " "),
            )  # fmt: skip
    onsets = [window["onset"] for window in windows if window["onset"] is not None]
    if onsets:
        sets = np.array([onset["set"] for onset in onsets])
        above.hlines(
            np.full(len(sets), -0.06),
            *sets.T,
            color=INK["accent"],
            lw=5,
            alpha=0.4,
            label="90 % set of the onset",
        )
        above.plot(
            [onset["row"] for onset in onsets],
            np.full(len(sets), -0.06),
            "|",
            color=INK["accent"],
            ms=8,
        )
    middles = [window["start"] + window["rows"] / 2 for window in windows]
    below.plot(
        middles, [window["label_error"] for window in windows], color=INK["ink"], marker="o", ms=3, lw=1.2
    )
    below.axhline(
        scanned["label_error_of_reference"],
        color=INK["muted"],
        lw=1,
        ls="--",
        label="on the reference, cross-validated",
    )
    for axis in (above, below):
        axis.axvspan(0, found["reference_rows"], color=INK["band"], lw=0, label="reference")
        if stream.breaks_at is not None:
            axis.axvline(stream.breaks_at, color=INK["muted"], lw=1, ls=":", label="known break")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, loc="upper left", ncols=3)
    above.set(ylabel="severity, 90 % interval", ylim=(-0.12, 1.25), yticks=[0, 0.25, 0.5, 0.75, 1])
    below.set(ylabel="label error of a model\nof the reference", xlabel="row")
    below.set_ylim(0, 1.4 * below.get_ylim()[1])
    figure.suptitle(f"{stream.name}: {stream.about}", fontsize=11)
    save(figure, path)


def draw_shuffled(streams: list[dict[str, Any]], path: Path) -> None:
    """Draw how many of the shuffled windows alarm at each alpha, beside what is due: the diagonal."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for axis, in_runs in zip(axes, (False, True), strict=True):
        for found in streams:
            for one in found["shuffled"]:
                if (one["run"] > 1) is in_runs:
                    shares = np.arange(len(one["p_values"]) + 1) / len(one["p_values"])
                    name = found["stream"] + (f", {one['run']} rows" if in_runs else "")
                    axis.step([0, *one["p_values"]], shares, where="post", lw=1.2, label=name)
        axis.plot([0, 1], [0, 1], color=INK["muted"], lw=1, ls="--", label="nominal")
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="alpha")
        axis.set_title("in runs of rows that stay together" if in_runs else "row by row", fontsize=10)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, loc="upper left")
    axes[0].set_ylabel("share of windows that alarm")
    figure.suptitle("Shuffled streams, in which nothing drifts", fontsize=11)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "mlflow-drift"  # the same figures give the same file
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def show(found: dict[str, Any], console: Console) -> None:
    """Print the windows of a stream; of many, the first thirty."""
    table = Table(
        "rows from", "verdict", "p", "severity", "interval", "to blame", "onset (set)", "label error", "CPU s",
        title=f"{found['stream']}: {found['about']}",
    )  # fmt: skip
    scanned = found["in_order"]
    for window in scanned["windows"][:30]:
        onset, (low, high) = window["onset"], window["severity_interval"]
        more = f" +{window['n_blamed'] - 3}" if window["n_blamed"] > 3 else ""
        table.add_row(
            f"{window['start']:,}",
            window["verdict"],
            f"{window['p']:.3f}",
            f"{window['severity']:.3f}",
            f"{low:.2f} to {high:.2f}",
            escape(", ".join(window["blamed"][:3])) + more,
            "" if onset is None else f"{onset['row']:,} ({onset['set'][0]:,} to {onset['set'][1]:,})",
            f"{window['label_error']:.3f}",
            f"{window['cpu_s']:.3f}",
        )
    console.print(table)
    lines = [f"{what}: {scanned[what]}" for what in ("known_break", "by_default") if what in scanned]
    for control in found["controls"]:
        blamed = ", ".join(f"{name} {count}" for name, count in control["blamed_in"].items())
        lines.append(
            f"{control['control']}, {control['rows']} rows: found in {control['detections']['rate']:.0%} of "
            f"{control['detections']['windows']}, severity {control['median_severity']}, to blame {blamed}"
        )
    lines += [
        f"shuffled in runs of {one['run']}: {alarms_of(one)}, {one['verdicts']}" for one in found["shuffled"]
    ]
    lines += [f"warnings: {one['warnings']}" for one in (scanned, *found["shuffled"]) if one["warnings"]]
    for line in lines:
        console.print("  " + escape(line), highlight=False)


def alarms_of(one: dict[str, Any]) -> str:
    alarms = one["alarms"][f"{ALPHA:g}"]
    return f"{alarms['rate']:.3f} ± {alarms['standard_error']:.3f} of {alarms['windows']}"


def summary(streams: list[dict[str, Any]]) -> Table:
    table = Table(
        "stream", "features", "reference", "window", "drift / none / inconclusive", "median severity",
        "label error: reference", "windows", "rank correlation", "alarms when shuffled", "CPU s a window",
        title=f"Real streams, alpha {ALPHA:g}",
    )  # fmt: skip
    for found in streams:
        scanned, windows = found["in_order"], found["in_order"]["windows"]
        agrees = scanned["severity_and_label_error"]
        table.add_row(
            found["stream"],
            str(found["features"]),
            f"{found['reference_rows']:,}",
            f"{found['window_rows']:,}",
            " / ".join(str(scanned["verdicts"].get(one, 0)) for one in ("DRIFT", "NO_DRIFT", "INCONCLUSIVE")),
            f"{np.median([window['severity'] for window in windows]):.3f}",
            f"{scanned['label_error_of_reference']:.3f}",
            f"{np.mean([window['label_error'] for window in windows]):.3f}",
            "" if agrees is None else f"{agrees['spearman']:.2f}",
            "\n".join(
                alarms_of(one) + (f", runs of {one['run']}" if one["run"] > 1 else "")
                for one in found["shuffled"]
            ),
            f"{scanned['cpu_s_a_window']:.3f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300, help="random windows a stream; 0 for none")
    parser.add_argument("--only", default="", help="streams whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_real.json"))
    arguments = parser.parse_args()
    chosen = [stream for stream in STREAMS if arguments.only in stream.name]
    if not chosen:
        parser.error(f"no stream's name contains {arguments.only!r}")
    console = Console(width=None if Console().is_terminal else 180)
    if Settings.load().data_home is None:
        console.print(
            "Skipped: MLFLOW_DRIFT_DATA_HOME is not set. Set it to the folder that holds elec2.csv.gz and the others."
        )
        return
    before = json.loads(arguments.out.read_text())["streams"] if arguments.out.exists() else []
    streams = {found["stream"]: found for found in before} if arguments.only else {}
    head = about(f"python -m benchmarks.detection.real --windows {arguments.windows}") | {"alpha": ALPHA}
    left_out = {}
    for stream in chosen:
        try:
            streams[stream.name] = measure(stream, arguments.windows)
        except NotFoundError as error:
            left_out[stream.name] = str(error)
            console.print(f"{stream.name} is left out: {error}")
            continue
        in_order = [streams[each.name] for each in STREAMS if each.name in streams]
        write_result(arguments.out, head | {"left_out": left_out, "streams": in_order})
        draw_scan(stream, streams[stream.name], arguments.out.with_name(f"real_{stream.name}.svg"))
        draw_shuffled(in_order, arguments.out.with_name("real_shuffled.svg"))
        show(streams[stream.name], console)
    console.print(summary([streams[each.name] for each in STREAMS if each.name in streams]))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
