"""The options of a run as pytest takes them: prefixed always, short where nobody else has them.

`--capgate-limit` is there in every session. `--limit` means the same where neither a plugin nor
a conftest of the user's project has an option of that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pytest

from capgate.config.run_options import OPTIONS, Option

_HELP: Final = frozenset({"-h", "--help"})


def add_options(parser: pytest.Parser) -> None:
    """Adds the prefixed spelling of each option."""
    group = parser.getgroup("capgate", "capgate: capability of fine-tuned models")
    for option in OPTIONS:
        group.addoption(option.prefixed, dest=option.dest, **option.keywords)


def add_short_options(parser: pytest.Parser, options: Iterable[Option] = OPTIONS) -> None:
    """Adds the short spelling of options, except for names that somebody else has.

    Args:
        parser: pytest's, with the options of all plugins and conftests that go first.
        options: Which options.
    """
    group = parser.getgroup("capgate")
    for option in options:
        if _is_free(parser, option.flag):
            keywords = {**option.keywords, "help": f"short for {option.prefixed}"}
            group.addoption(option.flag, dest=option.dest, **keywords)


def named_in(arguments: Sequence[str]) -> list[Option]:
    """Returns the options whose short spelling a command line needs.

    A name that nobody uses stays free: conftests of inner folders, which pytest imports later,
    may have options of that name.

    Args:
        arguments: The command line, with pytest's `addopts`.
    """
    if any(one in _HELP or one.startswith("@") for one in arguments):
        return list(OPTIONS)  # help shows all; a file of arguments (@FILE) may name any
    names = {one.partition("=")[0] for one in arguments}
    return [option for option in OPTIONS if option.flag in names]


def _is_free(parser: pytest.Parser, flag: str) -> bool:
    """Whether an option's name is unknown to pytest so far."""
    try:
        _, unknown = parser.parse_known_and_unknown_args([flag])
    except pytest.UsageError:  # it is known, and wants a value
        return False
    return flag in unknown
