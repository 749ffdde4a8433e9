"""Which part of the questions a worker asks, by its options and its cluster's variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.errors import ConfigError
from capgate.config.worker_shard import WorkerShard, worker_shard


def slurm(**values: int) -> dict[str, str]:
    """Slurm's variables of an array's task."""
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@given(st.integers(0, 5_000), st.integers(1, 60))
def test_all_parts_are_the_whole_and_equally_large(total: int, count: int) -> None:
    """Each question is in exactly one part, and two parts differ by one question at most."""
    bounds = [WorkerShard(index, count, "").bounds(total) for index in range(count)]
    assert [bounds[0][0], *(stop for _, stop in bounds)] == [
        *(start for start, _ in bounds),
        total,
    ]
    sizes = {stop - start for start, stop in bounds}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("text", "count", "environment", "found"),
    [
        ("3/16", None, {}, (3, 16)),
        ("0/1", None, {}, (0, 1)),
        # The option wins over the cluster.
        ("3/16", None, slurm(ID=1, COUNT=2, MIN=0), (3, 16)),
        (None, None, slurm(ID=0, COUNT=16, MIN=0, MAX=15, STEP=1), (0, 16)),
        (None, None, slurm(ID=16, COUNT=16, MIN=1, MAX=16, STEP=1), (15, 16)),
        (None, None, slurm(ID=8, COUNT=4, MIN=2, MAX=11, STEP=3), (2, 4)),
        (None, None, slurm(ID=5, COUNT=4, MIN=4), (1, 4)),
        (None, 16, slurm(ID=16, COUNT=16, MIN=1, MAX=16), (15, 16)),
        # One task of an array whose ids begin at 0, submitted again.
        (None, 16, slurm(ID=7, COUNT=1, MIN=7, MAX=7), (7, 16)),
        (None, 16, slurm(ID=7, COUNT=2, MIN=3, MAX=7), (7, 16)),
        (None, None, {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETION_COUNT": "4"}, (3, 4)),
        (None, 4, {"JOB_COMPLETION_INDEX": "3"}, (3, 4)),
    ],
)
def test_the_part_is_read(
    text: str | None, count: int | None, environment: dict[str, str], found: tuple[int, int]
) -> None:
    """`--shard`, Slurm's array or Kubernetes' indexed job say which part a worker asks."""
    shard = worker_shard(text, count, environment)
    assert (shard.index, shard.count) == found
    # What was read is told.
    assert all(value in shard.source for name, value in environment.items() if "ID" in name) or text


@pytest.mark.parametrize(
    ("text", "count", "environment", "said"),
    [
        (None, None, {}, "Neither --shard was given"),
        ("4/4", None, {}, "no part 4 of 4.*0/4 to 3/4"),
        ("1/1", None, {}, "0/1 is all"),
        ("3", None, {}, "--shard '3'"),
        ("0/0", None, {}, "--shard '0/0'"),
        ("-1/4", None, {}, "--shard '-1/4'"),
        ("1/4", 4, {}, "--shard and --shards"),
        # An array of one task would silently ask everything.
        (None, None, slurm(ID=7, COUNT=1, MIN=7, MAX=7), "one task.*TASK_ID=7.*--shard 7/16"),
        (None, None, slurm(ID=7, COUNT=2, MIN=3, MAX=7), "do not follow each other"),
        (None, None, slurm(ID=3, COUNT=2, MIN=2, MAX=4, STEP=2), "do not follow each other"),
        (None, None, slurm(ID=7), "how many tasks"),
        (None, 4, slurm(ID=7, COUNT=1, MIN=7), "no part 7 of 4.*TASK_ID=7"),
        (None, None, {"JOB_COMPLETION_INDEX": "3"}, "how many completions.*--shards"),
        (None, None, {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETION_COUNT": "3"}, "no part 3 of 3"),
        (None, None, {"SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID should be a number"),
    ],
)
def test_what_can_not_be_meant_is_told(
    text: str | None, count: int | None, environment: dict[str, str], said: str
) -> None:
    """No worker asks more or other questions than its user thinks."""
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        worker_shard(text, count, environment)
