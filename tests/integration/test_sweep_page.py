"""A sweep's page in a real browser: its tables sort, and it asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from tests.integration.pages import CONTRAST, Watched, expecting, listen

from capgate.common.redact import Redactor
from capgate.report.page.sweep import render_sweep
from capgate.run.swept import SweepKind, SweepResult, Swept, SweptBenchmark, WorstGroup, rank

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

SECRET = "innocent-0123456789abcdef"
HOSTILE = "runs/<script>alert(1)</script>&amp;\x1b[31m\u202e/checkpoint-7"


def swept(
    name: str,
    kind: SweepKind,
    log10_e: float,
    drop: float | None,
    *,
    tokens: int = 10_000,
    worst: str = "",
    reasons: Sequence[str] = (),
) -> Swept:
    """An adapter that was asked two benchmarks, of which the first speaks more against it."""
    if drop is None:
        return Swept(f"base+{name}", name, kind, reasons=tuple(reasons))
    group = WorstGroup(worst, 40, 20, 1) if worst else None
    parts = tuple(
        SweptBenchmark(
            *(benchmark, one, False, 200, losses, 2, size),
            {"low": size - 0.02, "high": size + 0.02, "level": 0.95},
            *(log, tokens // 2, group if benchmark == "rules" else None, tuple(reasons)),
        )
        for benchmark, one, losses, size, log in (
            ("rules", kind, round(200 * drop) + 2, drop, log10_e),
            ("sums", "PASS", 2, 0.0, -300.0),
        )
    )
    return Swept(f"base+{name}", name, kind, log10_e, parts)


FOUND = (
    swept("runs/a/checkpoint-100", "PASS", -1.0, 0.001),
    swept("runs/a/checkpoint-1000", "REGRESSION", 4.0, 0.31, worst="pears", reasons=["It lost."]),
    swept("runs/a/checkpoint-200", "INCONCLUSIVE", 0.5, 0.02, tokens=9_000, reasons=["Too few."]),
    swept(HOSTILE, "REGRESSION", 3.0, 0.09, worst=HOSTILE, reasons=[f"{HOSTILE} {SECRET}"]),
    swept("gone", "ERROR", -300.0, None, reasons=["no adapter is there"]),
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of six adapters, one of which was not judged yet."""
    rows, needed = rank(FOUND, 6, 0.05)
    result = SweepResult(
        run="20260101T000000Z-0001",
        base="base",
        benchmarks=("rules", "sums"),
        adapters=6,
        level=0.05,
        needed=needed,
        rows=rows,
        waiting=("runs/a/checkpoint-2000",),
        fault="",
        base_questions=400,
        base_tokens=40_000,
        on_inconclusive="fail",
    )
    file = tmp_path_factory.mktemp("page") / "sweep.html"
    file.write_text(render_sweep(result, "capgate sweep --adapters x", Redactor([SECRET])))
    return file


@pytest.fixture
def watched(browser: Browser, page_file: Path) -> Iterator[Watched]:
    """The page, opened from disk, with an eye on console and network."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    seen = Watched(context.new_page())
    listen(seen)
    seen.page.goto(page_file.as_uri())
    yield seen
    assert seen.faults == []
    assert seen.requests == [page_file.as_uri()]
    context.close()


def column(table: Locator, at: int) -> list[str]:
    """The texts of a column, row by row."""
    return table.locator(f"tbody tr > :nth-child({at})").all_inner_texts()


def test_those_that_lost_stand_first(watched: Watched) -> None:
    """The largest drop leads; what was not judged, and the first checkpoint that lost, are told."""
    page = watched.page
    assert "2 of 6 adapters lost capability" in page.inner_text("h1")
    table = page.locator("#adapters table")
    assert [kind.split()[1] for kind in column(table, 1)] == [
        *("REGRESSION", "REGRESSION", "ERROR", "INCONCLUSIVE", "PASS")
    ]
    assert column(table, 2)[0] == "runs/a/checkpoint-1000"
    assert "1 adapter not judged yet" in page.inner_text("main")
    assert "first lost at checkpoint-1000" in page.inner_text("#trainings")
    steps = column(page.locator("#trainings table").first, 1)
    assert [step.rpartition("-")[2] for step in steps] == ["100", "200", "1000"]
    assert "31.0 lost" in page.inner_text("#benchmarks")


def test_tables_sort_by_number(watched: Watched) -> None:
    """A click on a head sorts by it, a second one turns that round; what has no number is last."""
    page = watched.page
    table = page.locator("#adapters table")
    drop = table.locator("thead th", has_text="drop")
    drop.locator("button").click()
    expecting(drop).to_have_attribute("aria-sort", "ascending")
    assert column(table, 4) == ["+0.1", "+2.0", "+9.0", "+31.0", "–"]
    drop.locator("button").click()
    expecting(drop).to_have_attribute("aria-sort", "descending")
    assert column(table, 4) == ["+31.0", "+9.0", "+2.0", "+0.1", "–"]
    table.locator("thead th", has_text="adapter").locator("button").click()
    expecting(drop).not_to_have_attribute("aria-sort", "descending")
    names = column(table, 2)
    steps = [name for name in names if name.startswith("runs/a/")]
    assert steps == [f"runs/a/checkpoint-{step}" for step in (100, 200, 1000)]
    expecting(page.locator("#sorted")).to_have_text("Sorted by adapter, ascending")


def test_it_sorts_by_keyboard(watched: Watched) -> None:
    """Heads can be reached and pressed without a mouse, and what has the focus is visible."""
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(40):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        if page.evaluate("document.activeElement.textContent") == "tokens":
            break
    page.keyboard.press("Enter")
    table = page.locator("#adapters table")
    expecting(table.locator("thead th", has_text="tokens")).to_have_attribute(
        "aria-sort", "ascending"
    )
    assert column(table, 11)[:2] == ["0", "9,000"]


def test_names_of_adapters_are_shown_as_text(watched: Watched, page_file: Path) -> None:
    """A folder's name, a group's and a reason's can bring in no markup, and no secret."""
    page = watched.page
    text = page.inner_text("#adapters")
    assert "<script>alert(1)</script>&amp;" in text
    assert page.locator("main script, main img").count() == 0
    written = page_file.read_text()
    assert SECRET not in written
    assert not {"\x1b", "\u202e"} & set(written)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_it_is_readable_in_dark_and_light_and_on_a_phone(
    browser: Browser, page_file: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    """Enough contrast for every text, and no page wider than its screen."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    context.close()


def test_without_scripts_the_result_is_there(browser: Browser, page_file: Path) -> None:
    """Only sorting needs the page's script."""
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert column(page.locator("#adapters table"), 2)[0] == "runs/a/checkpoint-1000"
    assert page.locator("thead button").count() == 0
    context.close()
