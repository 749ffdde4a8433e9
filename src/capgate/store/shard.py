"""What a part of a run is: the shard that is judged or noted, and the look it was asked in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ShardKind = Literal[
    "entry", "preflight", "quick", "group", "suite", "reask", "verdict", "sweep", "worker"
]
"""What a shard is:

| kind | it holds |
|---|---|
| `entry` | what the run recorded of the target before it asked: fingerprint, questions, notes |
| `preflight` | whether the target could be judged at all |
| `quick` | the verdict of a quick run |
| `group` | the verdict on one group of questions, which `Shard.name` names: a subject of MMLU |
| `suite` | the verdict on the whole benchmark |
| `reask` | how asking the unreadable questions once more went |
| `verdict` | the verdict over all benchmarks of the run; it is of none of them (`OVER_ALL`) |
| `sweep` | what a sweep has found of an adapter, or of its base: what the sweep is (`SWEEP`) |
| `worker` | which part of the questions a worker asks, by which plan (`run.worker`) |
"""

WHOLE: Final[tuple[ShardKind, ...]] = ("suite", "quick")
"""Kinds that are a verdict on a whole target; where a run has both, the first counts."""

Look = Literal["first", "confirm", "repeat", "constrained", "remedy", "remedy_repeat"]
"""Why a question was asked:

| look | why |
|---|---|
| `first` | the run asks it |
| `confirm` | its group lost, and a second look has to confirm that (`--confirm`) |
| `repeat` | a command compares the target with itself (`calibrate`, `parity`, `baseline`) |
| `constrained` | its answer could not be read, and now the engine allows only one in form |
| `remedy` | `calibrate --try-remedy` asks under a remedy for contradictions |
| `remedy_repeat` | the same once more |

An answer of one look never stands for one of another look.
"""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of what a run does with one target.

    Attributes:
        kind: What the part is.
        benchmark: The benchmark that it belongs to; `""` where it is over all benchmarks.
        name: The group's name; `""` for kinds of which a benchmark has one only.
    """

    kind: ShardKind
    benchmark: str
    name: str = ""

    @property
    def label(self) -> str:
        """Its name for people and reports: the group's, else the kind."""
        return self.name or self.kind


OVER_ALL: Final = Shard("verdict", "")
"""The verdict over all benchmarks of a run."""

SWEEP: Final = Shard("sweep", "")
"""What a sweep keeps of an adapter or its base; of none of the benchmarks."""
