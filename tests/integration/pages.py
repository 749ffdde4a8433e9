"""Pages in a real browser: what they do is watched, and what they show is waited for."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, LocatorAssertions, Page

CHROMIUM = os.environ.get("CAPGATE_CHROMIUM") or shutil.which("chromium") or ""

CONTRAST = """
() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => {
      c /= 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length && (colour.length < 4 || colour[3] === 1)) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("svg,.sr,script")) continue;
    const [one, two] = [parse(getComputedStyle(node).color), ground(node)].map(light);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}
"""
"""What of a page's texts has too little contrast (WCAG's 4.5)."""


@dataclass
class Watched:
    """A page, and what it should never do."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def listen(seen: Watched) -> None:
    """Notes every fault and request of a page."""
    page = seen.page
    page.on("console", lambda message: seen.faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.faults.append(str(error)))
    page.on("dialog", lambda dialog: seen.faults.append(dialog.message))
    page.on("request", lambda request: seen.requests.append(request.url))


def expecting(place: Locator) -> LocatorAssertions:
    """Waits for what is expected; the page's own policy forbids to run tests inside it."""
    from playwright.sync_api import expect

    return expect(place)


def counted(page: Page) -> int:
    """How many flips the page says that it shows."""
    return int(page.inner_text("#count").split()[0])


def choose(page: Page, name: str, value: str) -> int:
    """Sets a filter and returns how many flips are left."""
    before = page.inner_text("#count")
    page.select_option(f"#filters select[name={name}]", value)
    expecting(page.locator("#count")).not_to_have_text(before)
    return counted(page)
