"""What a command that judges prints where nothing can be judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from capgate.common.errors import CapgateError
from capgate.common.output import Output
from capgate.gate.verdict import Scope, Verdict


def tell_no_verdict(
    out: Output, error: CapgateError, scope: Scope, form: Callable[[dict[str, Any]], Any] | None
) -> int:
    """Prints the fault, and for programs a verdict of kind ERROR that names it.

    Args:
        out: How the command writes.
        error: Why nothing can be judged.
        scope: What was to be judged.
        form: Makes the command's JSON of the verdict; None where it prints for people.

    Returns:
        The exit code of ERROR.
    """
    verdict = Verdict.of_error(error, scope=scope)
    if form is not None:
        out.json(form(verdict.to_dict()))
    out.error(f"ERROR: {error}")
    return verdict.exit_code
