"""A red run of three benchmarks through the real suite, and its report in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from tests.doubles.red import ADAPTER, BROKEN, OwnQuestions, Red, make_red_run
from tests.integration.pages import CONTRAST, Watched, choose, counted, expecting, listen

from capgate.report.data.read import read_report
from capgate.report.data.result import Report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BENCHMARKS = ("mmlu", "house-rules", "sums")


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Red]:
    """A whole run on MMLU and on a team's own two files of questions."""
    root = tmp_path_factory.mktemp("red-suite")
    made = make_red_run(root, "--subjects", f"{BROKEN},anatomy", asked=OwnQuestions())
    assert made.exit_code == 1, made.output
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def report(red: Red) -> Report:
    """Its report."""
    return read_report(red.folder / "report.json")


@pytest.fixture
def watched(browser: Browser, red: Red) -> Iterator[Watched]:
    """The page, opened from disk, with an eye on console and network."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    seen = Watched(context.new_page())
    listen(seen)
    seen.page.goto((red.folder / "report.html").as_uri())
    seen.page.wait_for_selector(".flip")
    yield seen
    assert seen.faults == []
    assert len(seen.requests) == 1
    context.close()


def test_every_form_of_a_real_run_names_its_benchmarks(red: Red, report: Report) -> None:
    """The verdict over all ends the run; files and terminal have each benchmark."""
    assert tuple(report.sections) == BENCHMARKS
    assert report.verdict == report.suites[ADAPTER]
    assert report.suites[ADAPTER]["kind"] == "REGRESSION"
    told = red.output.index(f"REGRESSION: {ADAPTER} over 3 benchmarks")
    for name in BENCHMARKS:
        assert red.output.index(f"REGRESSION: {ADAPTER} on {name}", told) > told
        latest = red.root / "reports" / ADAPTER / f"{name}_{ADAPTER}_latest.json"
        assert json.loads(latest.read_text()).get("benchmark", "mmlu") == name


def test_what_a_benchmark_is_comes_with_its_result(report: Report) -> None:
    """Parents, the form of answers, and the words for groups, of a file of questions."""
    house, sums = (report.benchmarks[name].targets[ADAPTER] for name in BENCHMARKS[1:])
    assert house.parents["refunds"] == "sent_back"
    assert house.domains["sent_back"].word == "lost"
    assert house.subject_details["refunds"].word == "lost"
    assert house.subject_details["returns"].word != "lost"
    assert (house.free_text, sums.free_text) == (False, True)
    assert set(report.benchmarks["sums"].comparisons[ADAPTER].labels) <= {"format", "knowledge"}


def test_the_page_is_walked_from_the_verdict_over_all(watched: Watched) -> None:
    """A row's link leads to its benchmark; filters and flips know the benchmark."""
    page = watched.page
    headings = page.locator("h2").all_inner_texts()
    assert headings[0].endswith(ADAPTER)
    assert [one.rpartition(" ")[2] for one in headings[1:4]] == list(BENCHMARKS)
    page.click("#suite-1 table a:text-is('sums')")
    assert page.url.endswith(page.get_attribute("#suite-1 table a:text-is('sums')", "href") or "?")
    whole = counted(page)
    assert choose(page, "domain", "sent_back") < whole
    assert page.locator(".flip .meta").first.inner_text().startswith("refunds")
    page.click("#filters button[type=reset]")
    expecting(page.locator("#count")).to_contain_text(f"{whole} of {whole}")
    choose(page, "target", "2")
    page.click(".flip summary")
    text = page.inner_text(".flip .body")
    assert f"--target {ADAPTER} --benchmark sums" in text
    assert f"Candidate ({ADAPTER} on sums)" in text
    assert page.locator(".flip .body .choices").count() == 0
    assert page.locator(".flip img, .flip script, .flip a").count() == 0


def test_the_page_can_be_read_by_a_screen_reader(watched: Watched) -> None:
    """Names for all tables and landmarks, each id once, and every reference has its place."""
    page = watched.page
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    missing = page.eval_on_selector_all(
        "[aria-labelledby]",
        "all => all.filter(one => !document.getElementById(one.getAttribute('aria-labelledby')))"
        ".length",
    )
    assert missing == 0
    assert page.eval_on_selector_all("table", "all => all.every(t => t.querySelector('caption'))")
    assert page.eval_on_selector_all("table", "all => all.every(t => t.querySelector('th[scope]'))")
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1100])
def test_the_page_is_readable_in_dark_and_light_and_on_a_phone(
    browser: Browser, red: Red, scheme: Literal["light", "dark"], width: int
) -> None:
    """Enough contrast for every text, and no table wider than its screen."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto((red.folder / "report.html").as_uri())
    page.wait_for_selector(".flip")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.outerHTML)"
    assert page.eval_on_selector_all(".table", wide) == []
    assert page.locator("#suite-1 td:last-child").first.is_visible()
    assert page.evaluate(CONTRAST) == []
    context.close()


def test_the_trend_of_a_real_run_has_each_benchmark(red: Red) -> None:
    """Written once by the run itself, beside the verdict over all."""
    from capgate.report.data.history import FILE, read_history

    rows = read_history(Path(red.root) / "reports" / FILE, ADAPTER)
    assert [row.benchmark for row in rows] == ["", *sorted(BENCHMARKS)]
