"""How long a benchmark's answers are, by the newest run that asked it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Final

from capgate.config.store_place import StorePlace
from capgate.store.answer_store import Store
from capgate.store.open_store import is_there, open_store

_LOOKED_AT: Final = 20
"""How many of the newest runs are looked at."""


def mean_lengths(place: StorePlace, benchmarks: Collection[str]) -> dict[str, float]:
    """Returns the tokens of an answer on average, by benchmark; only of those that were asked.

    Args:
        place: Where the store is; there may be none.
        benchmarks: Names of benchmarks.

    Raises:
        StoreError: The store can't be read.
    """
    if not is_there(place):
        return {}
    with open_store(place) as store:
        return lengths_in(store, benchmarks)


def lengths_in(store: Store, benchmarks: Collection[str]) -> dict[str, float]:
    """As `mean_lengths`, of an open store."""
    found: dict[str, float] = {}
    for run in islice(store.run_ids(), _LOOKED_AT):
        parts = {(target, shard.benchmark) for target, shard in store.ended(run)}
        for target, benchmark in sorted(parts):
            if benchmark not in benchmarks or benchmark in found:
                continue
            used = store.used(run, target, benchmark=benchmark)
            lengths = [s.answer.completion_tokens for s in used if s.answer.state.scored]
            if any(lengths):
                found[benchmark] = sum(lengths) / len(lengths)
    return found
