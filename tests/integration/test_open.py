"""`capgate open` as a process, with a real browser: what it lists, what runs now, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Hold, Project, until
from tests.integration.pages import CONTRAST, Watched, expecting, listen
from tests.integration.test_sweep_page import FOUND
from tests.unit.report.examples import red_report
from tests.unit.report.test_history import changed

from capgate.common.redact import Redactor
from capgate.report.data.history import FILE, add_run
from capgate.report.page.sweep import render_sweep
from capgate.report.write import write_data, write_page
from capgate.run.swept import SweepResult, rank

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SWEEP = "20260103T000000Z-0003"
OLDER, NEWER = "20260101T000000Z-0001", "20260102T000000Z-0002"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


@dataclass
class Opened:
    """A running `capgate open`.

    Attributes:
        url: The address that it printed.
        process: Its process.
    """

    url: str
    process: subprocess.Popen[str]

    def finish(self) -> tuple[int, str]:
        """Waits for its end; returns its exit code and what else it printed."""
        text, _ = self.process.communicate(timeout=60)
        return self.process.returncode, text


@contextmanager
def opened(root: Path, *arguments: str, **environment: str) -> Iterator[Opened]:
    """`capgate open` in a project; killed where the test has not ended it."""
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        [sys.executable, "-m", "capgate.cli", "open", *arguments],
        cwd=root,
        env={**kept, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that runs tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[0-9a-f]{32}/", line)
        assert found is not None, line + process.stdout.read()
        assert process.stdout.readline() == "Ctrl-C ends it\n"
        yield Opened(found[0], process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project that has two runs of a target, and one of a hostile one."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "reports"
    for run, day in ((OLDER, "2026-01-01"), (NEWER, "2026-01-02")):
        report = changed(red_report(run=run), run, f"{day}T00:00:00Z")
        write_data(report, folder / run)
        add_run(folder / FILE, report)
        write_page(report, folder / run, folder / FILE)
    add_run(folder / FILE, red_report(target=HOSTILE, run="hostile"))
    rows, needed = rank(FOUND, 6, 0.05)
    result = SweepResult(
        run=SWEEP,
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
    (folder / SWEEP).mkdir()
    (folder / SWEEP / "sweep.json").write_text(json.dumps(result.to_dict()))
    page = render_sweep(result, "capgate sweep --adapters x", Redactor([]))
    (folder / SWEEP / "sweep.html").write_text(page)
    return root


@pytest.fixture(scope="module")
def site(reports: Path) -> Iterator[Opened]:
    """The folder, opened."""
    with opened(reports, "--no-browser") as running:
        yield running


@contextmanager
def watching(
    browser: Browser, site: Opened, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Watched]:
    """The first page, with an eye on console and network."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    seen = Watched(context.new_page())
    listen(seen)
    seen.page.goto(site.url)
    yield seen
    assert seen.faults == []
    assert [url for url in seen.requests if not url.startswith((site.url, "data:,"))] == []
    context.close()


def test_the_list_leads_to_each_report(browser: Browser, site: Opened) -> None:
    """The report works as it does from disk: its script shows the flipped questions."""
    with watching(browser, site) as seen:
        page = seen.page
        rows = page.locator("#runs tbody tr")
        expecting(rows).to_have_count(3)
        assert "✕ REGRESSION" in rows.filter(has_text=NEWER).inner_text()
        page.get_by_role("link", name=NEWER).click()
        expecting(page.locator(".flip").first).to_be_visible()
        assert page.title().startswith("REGRESSION")
        # Its origin is its own: it can't read the list.
        assert page.evaluate("self.origin") == "null"
        page.go_back()
        expecting(page.locator("h1")).to_have_text("Runs")


def test_the_list_leads_to_each_sweep(browser: Browser, site: Opened) -> None:
    """With how many adapters have each verdict; the sweep's tables sort as they do from disk."""
    with watching(browser, site) as seen:
        page = seen.page
        row = page.locator("#sweeps tbody tr")
        expecting(row).to_contain_text("✕ REGRESSION 2")
        expecting(row).to_contain_text("1 not judged yet")
        row.get_by_role("link", name=SWEEP).click()
        page.locator("#adapters").get_by_role("button", name="tokens").click()
        expecting(page.locator("#sorted")).to_have_text("Sorted by tokens, ascending")


def test_filters_work_by_keyboard_and_stay_in_the_address(browser: Browser, site: Opened) -> None:
    """Tab leads from the start to the filters, Enter shows; a reload keeps them."""
    with watching(browser, site) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the runs"
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "text":
                break
        page.keyboard.type(NEWER)
        page.keyboard.press("Enter")
        expecting(page.locator("#runs tbody tr")).to_have_count(1)
        assert f"text={NEWER}" in page.url
        page.reload()
        assert page.input_value("input[name=text]") == NEWER
        expecting(page.locator("#count")).to_have_text("1 row. Show all")
        page.goto(f"{site.url}?verdict=PASS")
        expecting(page.locator("#runs")).to_contain_text("No run is like that")
        assert page.input_value("select[name=verdict]") == "PASS"


def test_hostile_names_do_nothing(browser: Browser, site: Opened) -> None:
    """A target's name is text, in the list, in the filter and in what its trend says."""
    with watching(browser, site) as seen:
        assert seen.page.locator("img").count() == 0
        expecting(seen.page.locator("#targets")).to_contain_text("<img src=x onerror=alert(1)>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_scheme_has_contrast_and_names(
    browser: Browser, site: Opened, scheme: Literal["light", "dark"]
) -> None:
    """Texts can be read; tables, regions, lines and controls have names for a screen reader."""
    with watching(browser, site, scheme) as seen:
        page = seen.page
        assert page.evaluate(CONTRAST) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(19, 21, 24)" if scheme == "dark" else "rgb(251, 251, 250)")
        names = [
            page.get_by_role("region", name="All runs", exact=True),
            page.get_by_role("table", name="Runs, newest first"),
            page.get_by_role("combobox", name="verdict"),
            page.get_by_role("searchbox", name="text"),
            page.get_by_role("img", name="Accuracy of mine on mmlu: 2 runs"),
            page.get_by_role("status"),
        ]
        assert all(one.count() >= 1 for one in names)


def test_the_page_fits_a_phone(browser: Browser, site: Opened) -> None:
    """Tables scroll in themselves; the page does not."""
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(site.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_a_run_is_followed_while_it_goes_on(
    browser: Browser, project: Project, server: Server
) -> None:
    """How much is asked, by target; its end leads to its report."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=5)
    server.script(forever=hold)
    process = project.start_full()
    assert hold.reached.wait(120)
    until(lambda: project.stored() == {"correct": 5}, "five answers stored")
    with opened(project.root, "--no-browser") as site, watching(browser, site) as seen:
        live = seen.page.locator("#live")
        expecting(live).to_contain_text("double on mmlu: 5 of up to 8 asked")
        bar = live.get_by_role("progressbar", name="Asked of double on mmlu")
        assert bar.get_attribute("value") == "5"
        hold.release()
        outcome = process.finish()
        assert outcome.code == 0, outcome.text
        expecting(seen.page.locator("#said")).to_contain_text("has ended", timeout=30_000)
        seen.page.get_by_role("link", name="Show its results").click()
        expecting(seen.page.locator("#runs tbody tr")).to_have_count(1)
        expecting(live).to_be_empty()


def test_a_run_that_died_is_told_as_ended(
    browser: Browser, project: Project, server: Server
) -> None:
    """Killed in the middle: the page says so within seconds, with the command that goes on."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=5)
    server.script(forever=hold)
    process = project.start_full()
    assert hold.reached.wait(120)
    until(lambda: project.stored() == {"correct": 5}, "five answers stored")
    with opened(project.root, "--no-browser") as site, watching(browser, site) as seen:
        expecting(seen.page.locator("#live")).to_contain_text("5 of up to 8 asked")
        process.kill()
        process.end()
        said = seen.page.locator("#said")
        expecting(said).to_contain_text("has ended before its report", timeout=30_000)
        expecting(seen.page.locator("#ended")).to_contain_text("pytest benchmarks -m full")
    hold.release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly(reports: Path, number: signal.Signals) -> None:
    """By Ctrl-C or a polite signal: nothing is printed, and nobody is answered any more."""
    with opened(reports, "--no-browser") as site:
        with urllib.request.urlopen(site.url, timeout=30) as reply:
            assert reply.status == 200
        site.process.send_signal(number)
        assert site.finish() == (0, "")
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(site.url, timeout=30)


def test_a_browser_is_opened_without_the_address_in_its_arguments(
    reports: Path, tmp_path: Path
) -> None:
    """Other users of the machine see arguments; the file that leads there is the user's alone."""
    told = tmp_path / "told"
    script = tmp_path / "browser"
    # It stays open, as a browser does.
    command = f'printf %s "$1" > {told}.new && mv {told}.new {told}; exec sleep 600'
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o700)
    given = {"BROWSER": f"{script} %s", "DISPLAY": ":0", "TMPDIR": str(tmp_path)}
    with opened(reports, **given) as site:
        until(told.exists, "a browser")
        place = told.read_text()
        with urllib.request.urlopen(site.url, timeout=30) as reply:
            assert b"All runs" in reply.read()
        assert site.url not in place
        file = Path(place.removeprefix("file://"))
        assert site.url in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        own = psutil.Process(site.process.pid)
        shown = [own, *own.children(recursive=True)]
        assert len(shown) > 1
        token = site.url.split("/")[3]
        assert not [one for one in shown if token in " ".join(one.cmdline())]
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(60) == 0
        assert not file.exists()
        for one in shown[1:]:
            one.kill()


def test_without_a_display_the_address_is_printed_alone(reports: Path, tmp_path: Path) -> None:
    """A browser in the terminal would take that over."""
    told = tmp_path / "told"
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\ntouch {told}\n")
    script.chmod(0o700)
    with opened(reports, BROWSER=f"{script} %s") as site:
        with urllib.request.urlopen(site.url, timeout=30) as reply:
            assert b"All runs" in reply.read()
        assert not told.exists()
