"""The HTML report in a real browser: it works, its figures are right, nothing hostile runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from support.browsers import MISSING, browser, open_page
from support.reports import HOSTILE, failing_rows, inputs_of, leave_batch

from batchpersist.foreign_text import printable
from batchpersist.models import Failure, Reject
from batchpersist.paths import Layout
from batchpersist.report.formats import render
from batchpersist.report.inputs import find_inputs

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"THERE IS NO {' '.join(MISSING)}: HTML IS NOT TRIED IN A BROWSER"
)

COMPARISON = Path(__file__).parents[2] / "docs" / "examples" / "compare.json"


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a batch with many failures, with its metrics beside it; and that of a comparison."""
    folder = tmp_path_factory.mktemp("report")
    texts = [*HOSTILE, *(f"run-{number}" for number in (9, 10, 100))]
    rejects = [Reject(text, number, Failure("E", text, text)) for number, text in enumerate(HOSTILE, 1)]
    batch = leave_batch(folder / "runs", failing_rows(texts), rejects=rejects)
    (folder / "batch.html").write_text(render(inputs_of(folder / "runs"), "html"))
    (folder / "comparison.html").write_text(render(find_inputs(str(COMPARISON), Layout("", "")), "html"))
    (folder / "metrics.json").write_bytes(Path(batch.metrics).read_bytes())
    return folder


def complaints(driver: Chrome) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]  # type: ignore[no-untyped-call]


def empty(field: WebElement) -> None:
    """As a person does; the page does not notice ``clear``."""
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE)


def rows(driver: Chrome) -> list[WebElement]:
    return [row for row in driver.find_elements(By.CSS_SELECTOR, "#failures tbody tr") if row.is_displayed()]


def column(driver: Chrome, place: int) -> list[str]:
    return [row.find_elements(By.TAG_NAME, "td")[place].text for row in rows(driver)]


@pytest.mark.parametrize("page", ["batch.html", "comparison.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_page_opens_without_errors_and_fits_the_window(
    driver: Chrome, folder: Path, page: str, scheme: str, width: int
) -> None:
    open_page(driver, folder / page, width=width, scheme=scheme)
    assert complaints(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(17, 21, 27)") == (scheme == "dark")
    shown = [
        each.is_displayed()
        for each in driver.find_elements(By.CSS_SELECTOR, f".{'wide' if width > 760 else 'narrow'} svg")
    ]
    assert shown
    assert all(shown)


OVERLAPPING = """
const bad = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  if (!frame.width) continue;
  const texts = [...svg.querySelectorAll("text")];
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([text, a], place) => {
    if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.bottom > frame.bottom + 1) bad.push(text);
    for (const [other, b] of boxes.slice(place + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        bad.push(`${text} | ${other}`);
  });
}
return bad;"""


@pytest.mark.parametrize("page", ["batch.html", "comparison.html"])
@pytest.mark.parametrize("width", [1200, 390])
def test_texts_of_pictures_do_not_overlap_or_leave_them(
    driver: Chrome, folder: Path, page: str, width: int
) -> None:
    open_page(driver, folder / page, width=width)
    assert driver.execute_script(OVERLAPPING) == []


def test_page_shows_the_figures_of_the_metrics(driver: Chrome, folder: Path) -> None:
    open_page(driver, folder / "batch.html", width=1200)
    metrics = json.loads((folder / "metrics.json").read_text())
    for cell in driver.find_elements(By.CSS_SELECTOR, "td[data-count]"):
        assert cell.text == f"{metrics['counts'][cell.get_attribute('data-count')]:,}"
    counts = driver.find_elements(By.CSS_SELECTOR, "#counts tr[data-count]")
    assert {row.get_attribute("data-count") for row in counts} == {"persisted", "failed", "invalid"}
    for row in counts:
        shown = row.find_element(By.CSS_SELECTOR, "td.number").text
        assert shown == f"{metrics['counts'][row.get_attribute('data-count')]:,}"
    causes = [cause.text for cause in driver.find_elements(By.CSS_SELECTOR, ".times")]
    assert [cause.partition("\u2009")[0] for cause in causes] == [
        f"{error['count']:,}" for error in metrics["errors"]
    ]
    assert len(rows(driver)) == metrics["counts"]["failed"] + metrics["counts"]["invalid"]


def test_hostile_text_is_shown_and_not_run(driver: Chrome, folder: Path) -> None:
    open_page(driver, folder / "batch.html", width=1200)
    assert driver.title.startswith("Finished: batch 2026")
    assert driver.find_elements(By.TAG_NAME, "img") == []
    shown = column(driver, 0)
    for text in HOSTILE:
        assert printable(text) in shown


def test_policy_refuses_other_scripts(driver: Chrome, folder: Path) -> None:
    """The policy holds, should all else fail: the page is spoilt on purpose."""
    spoilt = folder / "spoilt.html"
    page = (folder / "batch.html").read_text()
    evil = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    spoilt.write_text(page.replace("<main>", f"<main>{evil}"))
    open_page(driver, spoilt, width=1200)
    assert driver.title != "owned"
    assert "Content Security Policy" in "".join(complaints(driver))


def test_table_sorts_by_each_column_both_ways(driver: Chrome, folder: Path) -> None:
    open_page(driver, folder / "batch.html", width=1200)
    before = column(driver, 0)
    button = driver.find_elements(By.CSS_SELECTOR, "#failures th button")[0]
    head = driver.find_elements(By.CSS_SELECTOR, "#failures th")[0]
    button.click()
    rising = column(driver, 0)
    assert head.get_attribute("aria-sort") == "ascending"
    assert [text for text in rising if text.startswith("run-")] == ["run-9", "run-10", "run-100"]
    assert rising != before
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert [text for text in column(driver, 0) if text] == [text for text in rising if text][::-1]
    driver.find_elements(By.CSS_SELECTOR, "#failures th button")[4].click()
    assert head.get_attribute("aria-sort") is None
    assert sorted(column(driver, 0)) == sorted(before)


def test_table_is_searched_for_all_words(driver: Chrome, folder: Path) -> None:
    open_page(driver, folder / "batch.html", width=1200)
    total = len(rows(driver))
    search = driver.find_element(By.ID, "filter")
    search.send_keys("RUN-10 manifest")
    assert column(driver, 0) == ["run-10", "run-100"]
    assert driver.find_element(By.ID, "shown").text == "2 shown"
    search.send_keys(" <script>")
    assert driver.find_element(By.ID, "shown").text == "0 shown"
    empty(search)
    search.send_keys("\\u202egpj")
    assert len(rows(driver)) == 2
    empty(search)
    assert len(rows(driver)) == total
    assert complaints(driver) == []


def test_printed_page_is_light_and_without_controls(driver: Chrome, folder: Path) -> None:
    open_page(driver, folder / "batch.html", width=800, scheme="dark", media="print")
    assert (
        driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert not driver.find_element(By.ID, "filter").is_displayed()
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert printed["data"].startswith("JVBER")  # %PDF
