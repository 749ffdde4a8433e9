"""Several targets side by side under pytest-xdist: a worker of its own for each.

`--dist loadgroup` alone does it by marks, and by a suffix that xdist writes to each test's
id, which newer pytest versions no longer take; so the tests are shared out here by target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def by_target(
    config: pytest.Config,
    log: Any,  # noqa: ANN401 (xdist's)
    targets: Callable[[], Iterable[str]],
) -> object | None:
    """The scheduler that hands all tests of a target to one worker; None for other `--dist`s.

    Args:
        config: pytest's configuration.
        log: xdist's log.
        targets: The run's targets.
    """
    if config.getoption("dist", None) != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByTarget(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return target_of(nodeid, targets()) or nodeid.rpartition("@")[2]

    return ByTarget(config, log)


def target_of(nodeid: str, targets: Iterable[str]) -> str | None:
    """The target that a test of the benchmark is about.

    Args:
        nodeid: Its id, such as `benchmarks/test_mmlu.py::test_subject[my-model-anatomy]`.
        targets: The targets there are; one's id may begin another's.
    """
    _, mark, inside = nodeid.rpartition("::")[2].partition("[")
    inside = inside.partition("]")[0]
    found = [one for one in targets if inside == one or inside.startswith(f"{one}-")]
    return max(found, key=len) if mark and found else None
