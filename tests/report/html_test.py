"""The HTML report as text: what is in it, what is not, and what becomes of foreign text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outcomes import Row
from support.reports import HOSTILE, document_of, failing_rows, leave_batch

from batchpersist.compare.document import Comparison
from batchpersist.foreign_text import printable
from batchpersist.metrics.outcome_table import ShardRow
from batchpersist.models import Failure, Reject
from batchpersist.report.charts import draw_throughput, draw_workers
from batchpersist.report.document import BatchDocument, FailedRun, SideFailure, Verdict
from batchpersist.report.html import render_batch_page, render_comparison_page
from batchpersist.report.timeline import build_throughput, build_workers

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "compare.json"
VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """The elements of a page and its texts; what is opened must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    runs_dir = tmp_path_factory.mktemp("runs")
    rejects = [Reject(text, 1, Failure(text, text, text)) for text in HOSTILE]
    leave_batch(runs_dir, failing_rows(HOSTILE), rejects=rejects)
    return render_batch_page(document_of(runs_dir))


def comparison(**proof: object) -> Comparison:
    document = json.loads(EXAMPLE.read_text())
    asked = document["questions"][-1]
    for variant, text in zip(asked["variants"], HOSTILE, strict=False):
        variant["name"] = text.replace("\x00", "")
    asked["proof"] |= proof
    return msgspec.convert(document, Comparison)


def test_hostile_text_is_escaped(hostile: str) -> None:
    page = Page(hostile)
    assert len(page.named("script")) == 1
    assert page.named("img") == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
    for text in HOSTILE:
        assert printable(text) in page.texts
    assert "{{ 7 * 7 }} {% raw %} ${7*7}" in page.texts
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & set(hostile)


def test_page_fetches_nothing(hostile: str) -> None:
    for text in (hostile, render_comparison_page(comparison())):
        page = Page(text)
        assert [name for name in ("link", "iframe", "object", "embed") if page.named(name)] == []
        links = [
            value for _, each in page.elements for name, value in each.items() if name in ("src", "href")
        ]
        assert [link for link in links if not (link or "").startswith("#")] == []
        assert "url(" not in re.sub(r"url\(#", "", text)
        assert "@import" not in text
        (policy,) = (meta["content"] for meta in page.named("meta") if "http-equiv" in meta)
        assert policy is not None
        assert policy.startswith("default-src 'none'; ")


def test_page_has_headings_and_labels_for_screen_readers(hostile: str) -> None:
    for text in (hostile, render_comparison_page(comparison())):
        page = Page(text)
        assert len(page.named("h1")) == 1
        assert len(page.named("table")) == len(page.named("caption"))
        assert all(svg.get("aria-label") and svg.get("role") == "img" for svg in page.named("svg"))
        assert all("scope" in head for head in page.named("th"))
        assert all(region.get("aria-label") for region in page.named("div") if region.get("role") == "region")
        ids = [each["id"] for _, each in page.elements if "id" in each]
        assert len(ids) == len(set(ids))
        referred = set(re.findall(r'(?:aria-labelledby|for|href)="#?([^"]+)"', text))
        assert referred - set(ids) == set()


def test_pictures_take_their_colours_from_the_page(hostile: str) -> None:
    for text in (hostile, render_comparison_page(comparison())):
        drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
        assert re.findall(r"#[0-9a-f]{6}", drawn) == []
        used = set(re.findall(r"var\(--([\w-]+)\)", text)) - {"key", "level", "level-soft"}
        declared = set(re.findall(r"--([\w-]+):", text.partition("@media")[0]))
        assert used - declared == set()


def test_light_and_dark_declare_the_same_colours(hostile: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", hostile, re.DOTALL)[:2]
    assert set(re.findall(r"--[\w-]+(?=:)", light)) == set(re.findall(r"--[\w-]+(?=:)", dark))


def test_two_widths_of_a_picture_share_no_ids(hostile: str) -> None:
    ids = re.findall(r' id="([^"]+)"', hostile)
    assert len(ids) == len(set(ids))


def texts_of(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.partition('<div class="narrow">')[0])


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (0.05, ["0 s", "0.01 s"]),
        (100.0, ["0 s", "20 s"]),
        (1_200.0, ["0 min", "5 min"]),
        (36_000.0, ["0 h", "2 h"]),
    ],
)
def test_time_axis_has_a_unit_with_round_numbers(seconds: float, ticks: list[str]) -> None:
    shards = [ShardRow(0, "pair", 1, 0.0, seconds, 5)]
    course, timeline = build_throughput(shards), build_workers(shards)
    assert course is not None
    assert timeline is not None
    for picture in (draw_throughput(course), draw_workers(timeline)):
        shown = texts_of(picture)
        assert set(ticks) <= set(shown), shown


def test_each_worker_has_a_lane_with_its_name() -> None:
    timeline = build_workers([ShardRow(n, "pair", 100 + n, 0.0, 1.0, 5) for n in range(20)])
    assert timeline is not None
    assert {str(100 + n) for n in range(20)} <= set(texts_of(draw_workers(timeline)))


def test_rates_below_one_are_not_shown_as_zero() -> None:
    course = build_throughput([ShardRow(0, "pair", 1, 0.0, 100.0, 50)])
    assert course is not None
    assert "0.4" in texts_of(draw_throughput(course))


@settings(max_examples=25, deadline=None)
@given(text=st.text())
def test_any_text_of_a_failure_is_shown_as_text(text: str) -> None:
    failed = FailedRun(text, text, text, 1, [SideFailure("manifest", text, text, text)])
    document = BatchDocument(
        batch_id=text, state="finished", verdict=Verdict("bad", text), host=text,
        failed_runs=[failed], notes=[text], config={text: text},
    )  # fmt: skip
    page = Page(render_batch_page(document))
    assert len(page.named("script")) == 1
    assert printable(text).strip() in " ".join(page.texts)


def test_page_lists_a_bounded_number_of_failed_runs() -> None:
    failed = FailedRun("t", "r", "s", 1, [SideFailure("manifest", "E", "m", "d")])
    document = BatchDocument(
        batch_id="b",
        state="finished",
        verdict=Verdict("bad", "x"),
        failed_runs=[failed],
        failed_runs_omitted=999_999,
    )
    assert "These are the first 1; 999,999 more are left out." in " ".join(
        Page(render_batch_page(document)).texts
    )


@pytest.mark.parametrize(
    "rows", [[], [Row("t", "r", snapshot_seconds=0.0, manifest_seconds=0.0, pair_seconds=0.0)]]
)
def test_empty_batch_has_a_page(tmp_path: Path, rows: list[Row]) -> None:
    leave_batch(tmp_path, rows)
    assert Page(render_batch_page(document_of(tmp_path))).named("h1")


def test_a_comparison_whose_trees_differ_shows_the_lines() -> None:
    difference = {
        "path": "<b>",
        "kind": "content",
        "variant": "paired",
        "round": 0,
        "diff": ["-<i>", "+&\x1b"],
    }
    text = render_comparison_page(comparison(equal=False, differences=[difference], differences_omitted=3))
    assert "<pre>-&lt;i&gt;\n+&amp;\\x1b\n</pre>" in text
    assert "differ</b> in 4 files" in text


def test_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_batch(tmp_path / ".runs", [Row("a", "1")])
    monkeypatch.chdir(tmp_path)
    program = (
        "import sys; sys.modules['jinja2'] = sys.modules['matplotlib'] = None\n"
        "from importlib.util import find_spec as find\n"
        "import batchpersist.errors as e\n"
        "e.find_spec = lambda name: None if name in ('jinja2', 'matplotlib') else find(name)\n"
        "from batchpersist.cli.main import main; main()"
    )
    for kind, code in (("html", 2), ("text", 0), ("json", 0), ("junit", 0)):
        words = [sys.executable, "-c", program, "report", "--format", kind]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stderr
        assert (
            "jinja2 and matplotlib not installed: pip install 'batchpersist[report]'" in result.stderr
        ) == (code == 2)
