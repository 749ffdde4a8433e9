"""Remakes the pictures of a report in docs/: `make screenshots`.

    python scripts/screenshots.py REPORT.html

Chromium shows the page of a red run: the story in light and dark, and the flipped questions.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 1000
MARGIN: Final = 16
STORY_ENDS: Final = "[id$='-a-h'], h3:has-text('Accuracy by subject')"
FLIPS_SHOWN: Final = 4


def pictures(browser: Browser, report: Path, folder: Path) -> Iterator[Path]:
    """Takes the pictures of a report; yields the file of each."""
    for scheme in ("light", "dark"):
        with opened(browser, report, scheme) as page:
            end = page.locator(STORY_ENDS).first.bounding_box()
            assert end is not None
            yield taken(page, 0, end["y"] - MARGIN, folder / f"report-{scheme}.png")
    with opened(browser, report, "light") as page:
        page.locator(".flip summary").first.click()
        page.locator(".flip .body").wait_for()
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        first = page.locator("#flips").bounding_box()
        last = page.locator(".flip").nth(FLIPS_SHOWN - 1).bounding_box()
        assert first is not None
        assert last is not None
        end_y = last["y"] + last["height"]
        yield taken(page, first["y"] - MARGIN, end_y, folder / "report-flips.png")


@contextmanager
def opened(browser: Browser, report: Path, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """A report in a browser without a network."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    page.wait_for_selector(".flip")
    yield page
    context.close()


def taken(page: Page, top: float, bottom: float, path: Path) -> Path:
    """A picture of a page between two heights."""
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
    return path


def main() -> int:
    """Takes the pictures of the report that the command line names."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        print("needs chromium on the PATH: make test-browser installs it", file=sys.stderr)
        return 1
    if len(sys.argv) != 2:
        print("name the report: python scripts/screenshots.py REPORT.html", file=sys.stderr)
        return 4
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        for path in pictures(browser, Path(sys.argv[1]), ROOT / "docs"):
            print(f"written: {path.relative_to(ROOT)}")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
