"""How pages are made: templates that escape everything, and hashes of what a page may run."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from capgate.common.text import printable
from capgate.report.data.nouns import name_words
from capgate.report.page.view import percent


def csp_hash(text: str) -> str:
    """The hash by which a content security policy allows a script or style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def template_text(name: str) -> str:
    """The text of a file that stands in pages as it is."""
    return (files("capgate.report.page") / "templates" / name).read_text(encoding="utf-8")


@cache
def page_environment() -> Environment:
    """The templates; every text is escaped, and its control characters are shown as words."""
    environment = Environment(
        loader=PackageLoader("capgate.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["percent"] = percent
    environment.filters["words"] = _words
    environment.filters["count"] = lambda n, what: f"{n:,} {what}{'' if n == 1 else 's'}"
    environment.filters["points"] = lambda share: f"{100 * share:+.1f}" if share else "0"
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:].rstrip(".") + "."
    return environment


def _words(names: str) -> str:
    return " ".join(name_words(name) for name in names.split(" "))


def _shown(value: object) -> object:
    """Neutralises control characters in every text that a template shows."""
    return printable(value) if type(value) is str else value
