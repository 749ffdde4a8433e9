"""capgate's markers and warning filters, for its own tests alone.

A session registers the markers when it meets the first test file that mentions capgate. Files
without it are imported as if capgate were not installed: an unknown marker is an error there
under `--strict-markers`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from capgate.benchmarks.mmlu.subjects import DOMAINS

MARKERS: Final = (
    "quick: a verdict from a growing random sample over all subjects",
    "full: the whole benchmark, subject by subject",
    *(f"{domain}: the subjects of this domain" for domain in DOMAINS),
)

_DEPRECATED: Final = (
    (r"The 'initial' parameter is deprecated", r"inspect_ai.*"),
    (r".*__get_validators__.*is deprecated", r"pydantic.*"),
    (r"path is deprecated", r"inspect_evals.*"),
)
"""Message and module of warnings that users of capgate can do nothing about."""


def register_markers(config: pytest.Config) -> None:
    """Registers those of capgate's markers that the project does not have."""
    known = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
    for line in MARKERS:
        if line.partition(":")[0] not in known:
            config.addinivalue_line("markers", line)


def filter_warnings(item: pytest.Item) -> None:
    """Has pytest leave out the libraries' own deprecations while a test runs."""
    for message, module in _DEPRECATED:
        line = f"ignore:{message}:DeprecationWarning:{module}"
        item.add_marker(pytest.mark.filterwarnings(line))


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Leaves out the libraries' own deprecations outside of tests."""
    with warnings.catch_warnings():
        for message, module in _DEPRECATED:
            warnings.filterwarnings("ignore", message, DeprecationWarning, module)
        yield
