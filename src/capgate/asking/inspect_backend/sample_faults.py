"""Which fault ended a sample of an evaluation, known as an object and never by its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from inspect_ai.log import Transcript, transcript

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.outcome import Fault
from capgate.common.errors import RequestFault


class SampleFaults:
    """The faults of the requests of samples that run.

    Inspect keeps only the text of what ends a sample. A sample is known here by its transcript,
    which is the same object wherever its code runs.
    """

    def __init__(self) -> None:
        self._open: WeakKeyDictionary[Transcript, list[Fault]] = WeakKeyDictionary()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the fault that a block's request ends with.

        Where the request is answered, faults from before it are the sample's no more: its solver
        has caught them and asked again. A request that ran beside it may still fail the sample.
        """
        faults = self._open.setdefault(transcript(), [])
        before = list(faults)
        try:
            yield
        except (RequestFault, NotAskedError) as fault:
            # A copy has no traceback, which would keep the sample's frames in memory.
            faults.append(fault.copy() if isinstance(fault, RequestFault) else fault)
            raise
        faults[:] = [one for one in faults if not any(one is earlier for earlier in before)]

    def of_this_sample(self) -> Fault | None:
        """The latest fault of the sample in whose context this is called, if it has one."""
        faults = self._open.get(transcript())
        return faults[-1] if faults else None
