"""A red run's report in a real browser: it tells what was lost, works, and asks for nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from tests.doubles.red import ADAPTER, BASE, BROKEN, HOSTILE, LONG_LINE, Red, capgate, make_red_run
from tests.integration.pages import CONTRAST, Watched, choose, counted, expecting, listen

from capgate.report.data.read import read_report
from capgate.report.page.payload import unpack

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SUBJECTS = f"{BROKEN},formal_logic,abstract_algebra,anatomy,astronomy,sociology,virology"


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Red]:
    """A whole red run and, after it, a quick one of the same adapter."""
    root = tmp_path_factory.mktemp("red")
    run = make_red_run(root, "--subjects", SUBJECTS)
    assert run.exit_code == 1, run.output
    yield run
    run.server.stop()


@pytest.fixture
def watched(browser: Browser, red: Red) -> Iterator[Watched]:
    """The report, opened from disk, with an eye on console and network."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    seen = Watched(context.new_page())
    listen(seen)
    seen.page.goto((red.folder / "report.html").as_uri())
    seen.page.wait_for_selector(".flip")
    yield seen
    assert seen.faults == []
    assert [url for url in seen.requests if not url.startswith("file:")] == []
    assert len(seen.requests) == 1
    context.close()


def test_the_story_is_told_in_its_order(watched: Watched, red: Red) -> None:
    """Verdict and reasons first, then how sure, where, why, what flipped, and how to repeat."""
    text = watched.page.inner_text("main")
    report = read_report(red.folder / "report.json")
    verdict = report.targets[ADAPTER].verdict
    assert verdict is not None
    headings = watched.page.locator("h2, h3").all_inner_texts()
    assert [heading for heading in headings if ADAPTER not in heading] == [
        "What to do next",
        "Drop, and how sure it is",
        "Where: losses and gains by subject",
        "Why the lost questions were lost",
        "Accuracy by subject",
        "Unparsed answers and errors",
        "Trend",
        "Flipped questions",
        "How to repeat this run",
        "Versions and fingerprints",
    ]
    assert text.index("REGRESSION") < text.index(verdict["reasons"][0]) < text.index(headings[1])
    assert f"pytest benchmarks -m full --model-id {ADAPTER}" in text
    assert "are format and" in text
    assert "input_tokens" in text  # the one error, in the server's words


def test_filters_narrow_the_list(watched: Watched, red: Red) -> None:
    """By subject, domain, label, change and text; the counts are the report's."""
    page = watched.page
    flips = read_report(red.folder / "report.json").comparisons[ADAPTER].flips
    assert counted(page) == len(flips)
    assert choose(page, "subject", BROKEN) == sum(f.subject == BROKEN for f in flips)
    mine = [f for f in flips if f.subject == BROKEN and f.label == "knowledge"]
    assert choose(page, "label", "knowledge") == len(mine)
    page.fill("#filters input", "no such text anywhere")
    expecting(page.locator(".flip")).to_have_count(0)
    page.click("#filters button[type=reset]")
    expecting(page.locator(".flip")).not_to_have_count(0)
    assert counted(page) == len(flips)
    humanities = sum(f.subject == "formal_logic" for f in flips)
    assert choose(page, "domain", "humanities") == humanities
    page.click("#filters button[type=reset]")
    expecting(page.locator("#count")).to_contain_text(f"{len(flips)} of {len(flips)}")
    assert choose(page, "change", "loss") == sum(f.change == "loss" for f in flips)
    for _ in range(9):
        if page.is_hidden("#more"):
            break
        page.click("#more")
    assert page.locator(".flip").count() == counted(page)


def test_a_flip_shows_both_sides_in_full(watched: Watched, red: Red) -> None:
    """Question, choices, key, both answers, margins, label and the command for more."""
    page = watched.page
    flips = read_report(red.folder / "report.json").comparisons[ADAPTER].flips
    flip = next(f for f in flips if f.change == "loss" and f.label == "knowledge")
    page.fill("#filters input", flip.question)
    expecting(page.locator(".flip")).to_have_count(1)
    page.click(".flip summary")
    text = page.inner_text(".flip .body")
    assert flip.text in text
    assert f"{flip.key}) " in text
    assert "← key, reference" in text
    assert "← candidate" in text
    assert flip.candidate.margin is not None
    assert f"margin {flip.candidate.margin:.2f} nat" in text
    assert flip.candidate.text is not None
    assert flip.candidate.text.split("\n")[-1] in text
    assert f"capgate show {read_report(red.folder / 'report.json').run} {flip.question}" in text


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_text_is_shown_as_text(watched: Watched, red: Red, number: int) -> None:
    """Scripts, ends of markup, control characters and a 100 kB line stay what they are: text."""
    page = watched.page
    packed = re.search(
        r'id="data"[^>]*>([^<]+)<', (red.folder / "report.html").read_text(encoding="utf-8")
    )
    assert packed is not None
    flips = [f for t in unpack(packed[1])["targets"] for f in t["flips"]]
    start = HOSTILE[number][:4].replace("\x1b", "\\x1b")
    found = [f for f in flips if (f["c"]["t"] or "").startswith(start)]
    if not found:
        pytest.skip("no lost question of this run was answered so")
    page.fill("#filters input", found[0]["q"])
    expecting(page.locator(".flip")).to_have_count(1)
    page.click(".flip summary")
    shown = page.locator(".flip pre[aria-label^=Candidate]").inner_text()
    assert shown.rstrip("\n") == found[0]["c"]["t"].rstrip("\n")
    assert "\x1b" not in shown
    assert page.title().startswith("REGRESSION")
    assert page.locator(".flip img, .flip script, .flip a").count() == 0
    box = page.locator(".flip pre[aria-label^=Candidate]").bounding_box()
    assert box is not None
    assert box["height"] < 500
    if HOSTILE[number] == LONG_LINE:
        # Of a long answer its beginning and its end are kept, and how long it was in between.
        assert 2 * 16_384 < len(shown) < 2 * 16_384 + 200
        assert "100,0" in shown


def test_it_can_be_used_by_keyboard(watched: Watched) -> None:
    """The skip link comes first; filters, flips and scrolled text can be reached and opened."""
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached: set[str] = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(() => { const e = document.activeElement;"
            " return e.getAttribute('name') || e.tagName.toLowerCase() })()"
        )
        reached.add(name)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", name
        if name == "summary" and page.evaluate("!!document.activeElement.closest('.flip')"):
            break
    assert {"a", "change", "label", "domain", "subject", "text", "button", "summary"} <= reached
    page.keyboard.press("Enter")
    page.wait_for_selector(".flip[open] .body")


def test_it_can_be_read_by_a_screen_reader(watched: Watched) -> None:
    """Landmarks, one heading order, names for everything that is filled in or looked at."""
    page = watched.page
    assert page.get_attribute("html", "lang") == "en"
    for landmark in ("main", "header", "footer", "nav[aria-label]"):
        assert page.locator(landmark).count() == 1, landmark
    assert page.locator("h1").count() == 1
    levels = page.eval_on_selector_all(
        "h1,h2,h3,h4", "all => all.map(one => Number(one.tagName[1]))"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels))
    unnamed = page.eval_on_selector_all(
        "select,input", "all => all.filter(one => !one.labels.length).length"
    )
    assert unnamed == 0
    for selector in ("svg.chart", "[tabindex='0'][role=region]"):
        for one in page.locator(selector).all():
            named = one.get_attribute("aria-label") or one.get_attribute("aria-labelledby")
            assert named, selector
    labelled = page.eval_on_selector_all(
        "[aria-labelledby]",
        "all => all.filter(one => !document.getElementById(one.getAttribute('aria-labelledby')))"
        ".length",
    )
    assert labelled == 0
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert page.get_attribute("#count", "aria-live") == "polite"
    assert page.eval_on_selector_all("table", "all => all.every(t => t.querySelector('th[scope]'))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1100])
def test_it_is_readable_in_dark_and_light_and_on_a_phone(
    browser: Browser, red: Red, scheme: Literal["light", "dark"], width: int
) -> None:
    """Enough contrast for every text, and no page wider than its screen."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto((red.folder / "report.html").as_uri())
    page.wait_for_selector(".flip")
    page.click(".flip summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut_off = (
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.outerHTML)"
    )
    assert page.eval_on_selector_all(".table", cut_off) == []
    assert page.locator("table.scores td:nth-child(3)").first.is_visible()
    assert page.evaluate(CONTRAST) == []
    bright = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (bright == "rgb(251, 251, 250)") == (scheme == "light")
    if folder := os.environ.get("CAPGATE_SCREENSHOTS"):
        page.click(".flip summary")
        page.screenshot(path=Path(folder) / f"report-{scheme}-{width}.png", full_page=True)
    context.close()


def test_without_scripts_the_story_is_still_there(browser: Browser, red: Red) -> None:
    """Only the list of flips needs the page's script, and the page says so."""
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((red.folder / "report.html").as_uri())
    text = page.inner_text("main")
    assert "What to do next" in text
    assert "This list needs JavaScript" in text
    assert not page.is_visible("#filters")
    context.close()


def test_a_quick_run_shows_how_its_evidence_grew(browser: Browser, red: Red) -> None:
    """The path of both e-values with their thresholds, and both runs in the trend."""
    before = red.folder
    quick = make_red_run(
        red.root,
        *("--subjects", SUBJECTS, "--seed", "1"),
        mode="quick",
        dataset=red.root / "data",
    )
    quick.server.stop()
    assert quick.exit_code == 1, quick.output
    assert quick.folder != before
    context = browser.new_context(offline=True)
    seen = Watched(context.new_page())
    listen(seen)
    seen.page.goto((quick.folder / "report.html").as_uri())
    assert "How the evidence grew" in seen.page.inner_text("main")
    result = read_report(quick.folder / "report.json").targets[ADAPTER]
    assert len(result.path) >= 1
    assert result.verdict is not None
    caption = seen.page.inner_text("figure:has(polyline.harm) figcaption")
    for one in result.verdict["evidence"]:
        assert re.search(rf"“{one['hypothesis']}” {one['value']:.2f} of", caption), caption
    steps = seen.page.get_attribute("polyline.harm", "points")
    assert steps is not None
    assert len(steps.split()) == len(result.path) + 1
    assert seen.page.locator(".mark").count() == 2
    assert seen.page.locator(".series polyline").count() == 0  # quick and full are never joined
    assert seen.faults == []
    lines = capgate(red.root, "history", ADAPTER).splitlines()
    assert sum("REGRESSION" in line for line in lines) == 2
    assert sum(line.startswith("  data set") for line in lines) == 2
    base = capgate(red.root, "history", BASE).splitlines()
    assert sum(line.startswith("  data set") for line in base) == 2
    context.close()
