"""Targets whose server stopped answering in the middle of a run.

The controller records such a target once. Then one test fails for it and the others are
skipped; they do not each wait and fail for the same reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from capgate.client.faults import CONNECTION_KINDS, FINAL_KINDS
from capgate.common.errors import RequestFault

_GONE: Final = CONNECTION_KINDS | FINAL_KINDS


class Losses(Protocol):
    """The targets that a run has lost."""

    def note(self, target: str, fault: str) -> bool:
        """Records that a target was lost; returns True if that is new."""

    def fault(self, target: str) -> str:
        """Why a target was lost; `""` if it was not."""


class LostTargets:
    """The controller's list, safe for several threads."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}
        self._lock = threading.Lock()

    def note(self, target: str, fault: str) -> bool:
        """Records that a target was lost; returns True if that is new."""
        with self._lock:
            new = target not in self._faults
            self._faults.setdefault(target, fault)
        return new

    def fault(self, target: str) -> str:
        """Why a target was lost; `""` if it was not."""
        return self._faults.get(target, "")


class ControllersList:
    """The controller's list, for one of its workers.

    Args:
        call: Calls a function of the controller by its name.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def note(self, target: str, fault: str) -> bool:
        """Records that a target was lost; returns True if that is new."""
        return bool(self._call("lose", target, fault))

    def fault(self, target: str) -> str:
        """Why a target was lost; `""` if it was not."""
        return str(self._call("lost", target))


class UnreachableTargets:
    """The targets that the latest requests of this process could not reach."""

    def __init__(self) -> None:
        self._faults: dict[str, RequestFault] = {}

    def answered(self, target: str) -> None:
        """Counts an answer: the target is within reach."""
        self._faults.pop(target, None)

    def failed(self, target: str, fault: RequestFault, *, given_up: bool) -> None:
        """Counts a request without an answer.

        Args:
            target: The target asked.
            fault: Why there was no answer.
            given_up: Whether the client has stopped asking that server.
        """
        if given_up or fault.kind in _GONE:
            self._faults[target] = fault

    def fault(self, target: str) -> RequestFault | None:
        """Why the target can't be asked any more; None where it can."""
        return self._faults.get(target)
