"""What a sweep keeps in the store, so that it can be taken up again after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from capgate.gate.policy import Policy
from capgate.run.swept import Swept
from capgate.serving.adapters.sources import find_folder
from capgate.serving.engines.weights import digest
from capgate.store.answer_store import Store
from capgate.store.shard import SWEEP


class SweepRecord:
    """What one sweep keeps.

    Args:
        store: The store of answers.
        run: The sweep's id.
        base: The base's id.
    """

    def __init__(self, store: Store, run: str, base: str) -> None:
        self._store = store
        self._run = run
        self._base = base

    def begin(self, policy: Policy) -> None:
        """Notes that the sweep has begun, and by which policy."""
        self._note(policy, ended=False)

    def end(self, policy: Policy) -> None:
        """Notes that each adapter has been judged; a later sweep begins anew."""
        self._note(policy, ended=True)

    def _note(self, policy: Policy, *, ended: bool) -> None:
        facts = {"ended": ended, "policy": _plain(policy.model_dump(mode="json"))}
        self._store.end_shard(self._run, self._base, SWEEP, facts)

    def keep(self, swept: Swept) -> None:
        """Keeps what was found of an adapter."""
        self._store.end_shard(self._run, swept.target, SWEEP, asdict(swept))

    def judged(self) -> list[Swept]:
        """The adapters that were judged already; one that could not be is judged again."""
        kept = [
            Swept.from_dict(facts)
            for (target, shard), facts in self._store.shards(self._run).items()
            if shard == SWEEP and target != self._base
        ]
        return [one for one in kept if one.kind != "ERROR"]


def find_unfinished(
    store: Store,
    base: str,
    settings: Mapping[str, Any],
    policy: Policy,
    where: Callable[[Swept], str],
) -> str | None:
    """The newest sweep of the same adapters, where that was broken off; else None.

    Args:
        store: The store of answers.
        base: The base's id.
        settings: What the sweep is asked to do, as runs record it.
        policy: The policy in force.
        where: Adapter to its folder, or to its name on the server.
    """
    wanted, rules = _plain(settings), _plain(policy.model_dump(mode="json"))
    for run, _, recorded in store.runs():
        if recorded != wanted:
            continue
        noted = store.shards(run).get((base, SWEEP))
        if noted is None or noted["ended"] or noted["policy"] != rules:
            return None
        judged = SweepRecord(store, run, base).judged()
        return None if any(_has_changed(one, where(one)) for one in judged) else run
    return None


def _has_changed(one: Swept, where: str) -> bool:
    """Whether an adapter's files are not what they were when it was judged."""
    folder = find_folder(where)
    return folder is not None and bool(one.digest) and digest(folder) != one.digest


def _plain(facts: Mapping[str, Any]) -> Any:  # noqa: ANN401 (as JSON gives it back)
    return json.loads(json.dumps(facts))
