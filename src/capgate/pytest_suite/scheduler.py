"""Several targets side by side under pytest-xdist: a worker of its own for each.

`--dist loadgroup` alone does it by marks, and by a suffix that pytest-xdist writes to each
test's id, which newer pytest versions no longer take. So capgate's tests are grouped here by
their target. All other tests are grouped as pytest-xdist does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def by_target(
    config: pytest.Config,
    log: Any,  # noqa: ANN401 (pytest-xdist's)
    made: object,
    target_of: Callable[[str], str | None],
) -> object:
    """Returns a scheduler that hands all tests of a target to one worker.

    Args:
        config: pytest's configuration.
        log: pytest-xdist's log.
        made: The scheduler that the session would have without capgate. It is returned unless
            it is the one that pytest-xdist makes for `--dist loadgroup`.
        target_of: The target of a test of capgate's, by node id; None for any other test.
    """
    from xdist import scheduler  # type: ignore[import-untyped]

    if type(made) is not scheduler.LoadGroupScheduling:
        return made

    # Named as its base, since `pytest -v` shows the name.
    class LoadGroupScheduling(scheduler.LoadGroupScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            target = target_of(nodeid)
            return super()._split_scope(nodeid) if target is None else target

    return LoadGroupScheduling(config, log)
