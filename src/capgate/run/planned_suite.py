"""What one verdict over several benchmarks will take, and which of them can decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from capgate.common.errors import CapgateError
from capgate.run.planning import Effort, Plan


@dataclass(frozen=True)
class Planned:
    """A benchmark's part in a verdict to come.

    Attributes:
        benchmark: Its name.
        found: Its plan, or why there is none.
        catch: The drop that must be caught.
        advisory: Whether it is reported and never decides.
    """

    benchmark: str
    found: Plan | CapgateError
    catch: float
    advisory: bool

    @property
    def plan(self) -> Plan | None:
        """Its plan; None where its questions can't be loaded."""
        return None if isinstance(self.found, CapgateError) else self.found

    @property
    def fault(self) -> CapgateError | None:
        """Why there is no plan."""
        return self.found if isinstance(self.found, CapgateError) else None

    @property
    def decides(self) -> bool:
        """Whether the whole benchmark would usually show a drop of `catch`."""
        seen = None if self.plan is None else self.plan.visible
        return seen is not None and seen <= self.catch

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        facts = {"catch": self.catch, "advisory": self.advisory}
        if isinstance(self.found, CapgateError):
            return {**facts, "missing": self.found.what, "remedy": self.found.remedy}
        return {**facts, "decides": self.decides, **asdict(self.found)}


@dataclass(frozen=True)
class PlannedSuite:
    """What one verdict on a target over all its benchmarks will take.

    Attributes:
        parts: A part for each benchmark, in the order in which they are asked.
    """

    parts: tuple[Planned, ...]

    @property
    def only(self) -> Plan | None:
        """The plan of the only benchmark; None where there are several."""
        return self.parts[0].plan if len(self.parts) == 1 else None

    @property
    def missing(self) -> tuple[Planned, ...]:
        """The benchmarks whose questions can't be loaded."""
        return tuple(one for one in self.parts if one.plan is None)

    @property
    def whole(self) -> Effort:
        """What a whole run takes, over the benchmarks that have a plan."""
        return together(one.plan.whole for one in self.parts if one.plan)

    def quick(self, case: int) -> Effort:
        """What quick runs take on average, over the benchmarks that have a plan.

        Args:
            case: 0 where nothing was lost anywhere, 1 where each lost its `catch`.
        """
        return together(one.plan.quick[case].mean for one in self.parts if one.plan)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON: the only benchmark's plan, or all of them by name."""
        if self.only is not None:
            return asdict(self.only)
        return {
            "benchmarks": {one.benchmark: one.to_dict() for one in self.parts},
            "whole": asdict(self.whole),
            "quick": [asdict(self.quick(case)) for case in (0, 1)],
        }


def together(efforts: Iterable[Effort]) -> Effort:
    """The sum of efforts; its cost is known where each one's is."""
    found = list(efforts)
    costs = [one.cost for one in found if one.cost is not None]
    return Effort(
        sum(one.questions for one in found),
        sum(one.seconds for one in found),
        sum(one.tokens for one in found),
        sum(costs) if len(costs) == len(found) and found else None,
    )
