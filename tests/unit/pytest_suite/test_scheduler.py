"""How pytest-xdist shares tests out to its workers beside capgate's."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadGroupScheduling, LoadScheduling

from capgate.pytest_suite.scheduler import by_target

pytest_plugins = ["pytester"]


def no_target(nodeid: str) -> str | None:  # noqa: ARG001
    """Knows of no test of capgate's."""
    return None


class Theirs(LoadGroupScheduling):  # type: ignore[misc]
    """A scheduler of the user's own."""


@pytest.mark.parametrize("kind", [LoadScheduling, Theirs])
def test_any_scheduler_but_load_group_is_left_as_it_is(
    session: pytest.Pytester, kind: type[object]
) -> None:
    """Another `--dist`, and a scheduler that the project's own plugin makes."""
    config = session.parseconfig("-p", "xdist.plugin", "--tx", "2*popen")
    made = kind(config)  # type: ignore[call-arg]
    assert by_target(config, None, made, no_target) is made
