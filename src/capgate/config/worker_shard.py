"""Which part of the questions a worker asks: `--shard`, or what Slurm and Kubernetes say.

| given | the worker asks |
|---|---|
| `--shard 3/16` | part 3 of 16; parts are counted from 0 |
| Slurm's `SLURM_ARRAY_TASK_ID`, `…_COUNT`, `…_MIN` | that part of the array |
| Kubernetes' `JOB_COMPLETION_INDEX` and `JOB_COMPLETION_COUNT` | that part of the indexed job |
| `--shards 16` and one of both | that part of 16 |

The ids of a Slurm array may begin anywhere and have any step. Where `--shards` gives another number
of parts than the array has tasks, the array is a part of a larger one whose ids begin at 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from capgate.common.errors import ConfigError

_SLURM: Final = "SLURM_ARRAY_TASK_"
_INDEX: Final = "JOB_COMPLETION_INDEX"
_COUNT: Final = "JOB_COMPLETION_COUNT"


@dataclass(frozen=True, slots=True)
class WorkerShard:
    """A part of the questions.

    Attributes:
        index: Which one, from 0 on.
        count: How many there are.
        source: Where that was read, for people.
    """

    index: int
    count: int
    source: str

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def bounds(self, total: int) -> tuple[int, int]:
        """The part's first place in a row of `total`, and the first one after it.

        All parts together are the whole row, and two of them differ by one at most.
        """
        return self.index * total // self.count, (self.index + 1) * total // self.count


def worker_shard(
    text: str | None, count: int | None, environment: Mapping[str, str]
) -> WorkerShard:
    """The part that a worker asks.

    Args:
        text: What `--shard` gives, such as `3/16`.
        count: What `--shards` gives.
        environment: Where Slurm's and Kubernetes' variables are.

    Raises:
        ConfigError: It is not said which, or it can't be meant.
    """
    if text is not None:
        if count is not None:
            raise ConfigError("--shard and --shards say the same", remedy="leave one of them out")
        return _given(text)
    if f"{_SLURM}ID" in environment:
        return _of_slurm(environment, count)
    if _INDEX in environment:
        return _of_kubernetes(environment, count)
    raise ConfigError(
        "which part of the questions is this worker's? Neither --shard was given, nor is there "
        f"{_SLURM}ID (Slurm) or {_INDEX} (Kubernetes)",
        remedy="name it: --shard 0/4 is the first of four",
    )


def _given(text: str) -> WorkerShard:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not count:
        raise ConfigError(
            f"--shard {text!r} should be a part and how many there are",
            remedy="--shard 0/4 is the first of four",
        )
    return _checked(index, count, f"--shard {text}")


def _of_slurm(environment: Mapping[str, str], count: int | None) -> WorkerShard:
    found = {
        name: _number(environment, f"{_SLURM}{name}")
        for name in ("ID", "COUNT", "MIN", "MAX", "STEP")
        if f"{_SLURM}{name}" in environment
    }
    source = _told(environment, [f"{_SLURM}{name}" for name in ("ID", "COUNT", "MIN")])
    tasks = found.get("COUNT")
    if count is not None and tasks != count:
        # A part of the array that is submitted again has the ids that it had in the whole.
        return _checked(found["ID"], count, f"--shards {count}, {source}")
    if tasks is None or "MIN" not in found:
        raise ConfigError(
            f"Slurm does not say how many tasks its array has ({source})",
            remedy="say it: --shards 16",
        )
    if tasks == 1 and count is None:
        raise ConfigError(
            f"Slurm's array has one task ({source}), which would ask all questions",
            remedy=f"say of how many parts this is one, such as --shard {found['ID']}/16; "
            "--shard 0/1 is all",
        )
    step = found.get("STEP", 1) or 1
    index, odd = divmod(found["ID"] - found["MIN"], step)
    last, odd_last = divmod(
        found.get("MAX", found["MIN"] + step * (tasks - 1)) - found["MIN"], step
    )
    if odd or odd_last or last != tasks - 1:
        raise ConfigError(
            f"the ids of Slurm's array do not follow each other ({source})",
            remedy="say which part this is: --shard 3/16, or --shards 16 where ids count from 0",
        )
    return _checked(index, tasks, source)


def _of_kubernetes(environment: Mapping[str, str], count: int | None) -> WorkerShard:
    source = _told(environment, [_INDEX, _COUNT])
    index = _number(environment, _INDEX)
    if count is None and _COUNT not in environment:
        raise ConfigError(
            f"Kubernetes does not say how many completions the job has ({source})",
            remedy=f"say it: --shards 16, or {_COUNT} in the container's env",
        )
    if count is None:
        return _checked(index, _number(environment, _COUNT), source)
    return _checked(index, count, f"--shards {count}, {source}")


def _checked(index: int, count: int, source: str) -> WorkerShard:
    if not 0 <= index < count:
        raise ConfigError(
            f"there is no part {index} of {count} ({source})",
            remedy=f"parts are counted from 0: 0/{count} to {count - 1}/{count}"
            if count > 1
            else "parts are counted from 0: 0/1 is all",
        )
    return WorkerShard(index, count, source)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name].strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError(
            f"{name} should be a number, got {text[:40]!r}", remedy="name the part: --shard 0/4"
        )
    return int(text)


def _told(environment: Mapping[str, str], names: list[str]) -> str:
    return ", ".join(f"{name}={environment[name][:40]}" for name in names if name in environment)
