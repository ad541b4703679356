"""The pages say everything, run nothing, and ask nobody."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.report import drift_page, story_page

VOID = {"meta", "br", "hr", "img", "link", "input"}
STEPS = [
    {"name": "Start the servers", "status": "ok", "detail": "on a free port", "seconds": 6.125},
    {"name": "Scan", "status": "drift", "detail": "p = 0.001"},
    {"name": "Promote <i>bad</i>", "status": "refused", "detail": "409: not better", "seconds": 0.5},
    {"name": "Odd", "status": "postponed"},
]


class Page(HTMLParser):
    """Collects text, tags and attributes, and checks that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def assert_self_contained(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    for name, value in page.attributes:
        assert name != "src"
        assert not name.startswith("on")
        if name in ("href", "xlink:href") and "svg" in page.tags:
            assert value is not None
            assert value.startswith(("#", "http://127.0.0.1"))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


def test_the_drift_page_says_everything(drifted: dict[str, Any]) -> None:
    html = drift_page(drifted)
    assert_self_contained(html)
    text = Page(html).text
    for words in (
        "▲ Drift",
        "elec2: drift report",
        drifted["reason"],
        drifted["report_id"],
        "Severity 0.52 90 % interval 0.41 to 0.63",
        "Confidence > 0.99",
        "p-value 0.001",
        "row 412",
        "90 % sure: rows 380 to 460",
        "price ▲ yes numeric 0.860 0.710 0.080 0.400 0.001 0.600",
        "demand ▲ yes numeric 0.610 0.340 0.040 0.310 4.0e-04 0.300",
        "<script>alert(1)</script> no categorical",
        "psi 3.2000 0.001 price",
        "mmd ValueError: no bandwidth",
        "Reference rows 9,000",
        "Rows a block 25",
        "Relabellings 999",
        "Seed 7",
        "table_version 12",
    ):
        assert words in text, words
    assert "Impact" not in text, "a column without any value is left out"


def test_what_users_name_is_escaped(drifted: dict[str, Any]) -> None:
    html = drift_page(drifted)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<b>2</b>" not in html


def test_the_picture_follows_the_theme(drifted: dict[str, Any]) -> None:
    html = drift_page(drifted)
    assert "var(--accent)" in html
    assert "#b3402f;" in html, "defined once, as the light theme's colour"
    assert html.count("#b3402f") == 1
    assert "<metadata>" not in html


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("DRIFT", "▲ Drift"), ("NO_DRIFT", "✓ No drift"), ("INCONCLUSIVE", "? Inconclusive")],
)
def test_verdicts_have_a_sign_besides_their_colour(drifted: dict[str, Any], verdict: str, words: str) -> None:
    assert words in Page(drift_page({**drifted, "verdict": verdict})).text


def test_an_inconclusive_report_claims_no_figures(inconclusive: dict[str, Any]) -> None:
    html = drift_page(inconclusive)
    assert_self_contained(html)
    text = Page(html).text
    assert "only 6 blocks" in text
    assert "Severity — 90 % interval — to —" in text
    assert "No detector gave a result" in text
    assert "nan" not in text.lower()


def test_an_onset_before_the_window(drifted: dict[str, Any]) -> None:
    drifted["onset"] |= {"row": 0, "time": None, "time_low": None, "time_high": None}
    assert "at the start" in Page(drift_page(drifted)).text


def test_the_story_page(drifted: dict[str, Any]) -> None:
    html = story_page(
        "One loop", STEPS, {"MLflow": "http://127.0.0.1:5000", "Audit log": "run/audit.log"}, drifted
    )
    assert_self_contained(html)
    page = Page(html)
    for words in (
        "One loop",
        "4 steps in 6.6 seconds",
        "Start the servers ✓ ok 6.1 s",
        "on a free port",
        "Scan ▲ drift",
        "Promote <i>bad</i> ✕ refused 0.5 s",
        "409: not better",
        "Odd • postponed",
        "▲ Drift",
        "run/audit.log",
    ):
        assert words in page.text, words
    assert [value for name, value in page.attributes if name == "href"] == ["http://127.0.0.1:5000"]


def test_the_story_without_a_report() -> None:
    html = story_page("One loop", [], {})
    assert_self_contained(html)
    assert "What the scan found" not in html


def test_a_link_cannot_run_code() -> None:
    html = story_page("One loop", [], {"bad": "javascript:alert(1)"})
    assert "href" not in html.partition("</style>")[2]


@pytest.mark.parametrize("wrong", [None, "text", {}, {"features": None}])
def test_wrong_reports_name_the_parameter(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^report: "):
        drift_page(wrong)
    if wrong is not None:
        with pytest.raises(InvalidInputError, match=r"^report: "):
            story_page("One loop", [], {}, wrong)


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("title", ("", [], {})),
        ("title", (None, [], {})),
        ("steps", ("t", "text", {})),
        ("steps", ("t", None, {})),
        ("steps", ("t", [3], {})),
        ("steps", ("t", [{"name": "a"}], {})),
        ("links", ("t", [], None)),
    ],
)
def test_wrong_stories_name_the_parameter(parameter: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{parameter}: "):
        story_page(*arguments)
