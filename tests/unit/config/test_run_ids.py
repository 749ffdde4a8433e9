"""Ids of runs sort by time and tell runs apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from capgate.config.chosen_targets import new_run_id

TIMES = st.floats(min_value=0, max_value=4e9)


@given(first=TIMES, later=st.floats(min_value=0.001, max_value=3.0))
def test_a_run_that_began_later_has_a_greater_id(first: float, later: float) -> None:
    """Also within one second."""
    assert new_run_id(first) < new_run_id(first + later)


def test_runs_that_begin_at_one_moment_have_ids_of_their_own() -> None:
    """As on machines that a cluster starts together."""
    assert len({new_run_id(0.0) for _ in range(100)}) == 100
