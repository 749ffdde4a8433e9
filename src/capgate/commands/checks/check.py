"""What a check is, and how something that may fail is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from capgate.common.dependencies import is_missing, package_error
from capgate.common.errors import CapgateError, ConfigError, RequestFault
from capgate.common.text import one_line

State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What it is.
        state: `skipped` where it was not checked or does not apply.
        finding: What was found.
        remedy: The command or change that repairs it, if it failed.
    """

    name: str
    state: State
    finding: str
    remedy: str = ""


class Skip(Exception):
    """Raised by a check that does not apply; its text says why."""


def check_of(name: str, find: Callable[[], str], *, remedy: Callable[[CapgateError], str]) -> Check:
    """Checks one thing.

    Args:
        name: What it is.
        find: Returns the finding; raises a `CapgateError` where something is wrong. Any other
            exception is a failed check as well.
        remedy: Tells what repairs a fault.
    """
    try:
        return Check(name, "ok", find())
    except Skip as reason:
        return Check(name, "skipped", str(reason))
    except CapgateError as error:
        return Check(name, "failed", what_of(error), remedy(error))
    except Exception as error:
        if is_missing(error):
            fault = package_error(error)
            return Check(name, "failed", what_of(fault), fault.remedy)
        return Check(
            name,
            "failed",
            f"the check itself failed: {type(error).__name__}: {one_line(str(error), limit=400)}",
            "this is a fault of capgate, unless what it names is yours",
        )


def own_remedy(error: CapgateError) -> str:
    """The remedy that the fault itself names."""
    return error.remedy


def what_of(error: CapgateError) -> str:
    """A fault's text without its target and remedy, which a check shows separately."""
    what = error.what
    if isinstance(error, RequestFault):
        answered = f"HTTP {error.status} from" if error.status is not None else "no response from"
        what = f"{what} ({answered} {error.url})"
    if error.said:
        what = f'{what}; it said: "{error.said}"'
    if isinstance(error, ConfigError):
        what = "\n".join([what, *(str(fault) for fault in error.faults[:20])])
    return what
