"""The measured tables of the README, each between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

README: Final = Path(__file__).with_name("README.md")


def publish(topic: str, text: str) -> None:
    """Puts what was measured into the README, in the place of what is there.

    Args:
        topic: The name in the marks.
        text: Markdown.

    Raises:
        SystemExit: The README has no marks of this name.
    """
    begin, end = f"<!-- {topic} -->", f"<!-- end of {topic} -->"
    before, found, rest = README.read_text(encoding="utf-8").partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise SystemExit(f"{README.name} has no place marked {begin}")
    README.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
