"""A target as the store knows it: who answered under its name, found without a server.

Each worker that meets a running server observes its weights by itself, so the answers of several
workers stand under several fingerprints. Which of them are of the same weights is found as a run
finds it, by the stored observations: those that agree with the newest one are joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.asking.fingerprint import Fingerprint, as_kept, fingerprint
from capgate.asking.weights import SEEN
from capgate.benchmarks.benchmark import Benchmark
from capgate.common.errors import MissingAnswersError
from capgate.config.settings import Settings
from capgate.config.shown_command import worker_command
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.signature import observation_of
from capgate.store.answer_store import Store
from capgate.store.kept import Seen

_OF_THE_SERVER: Final = frozenset({SEEN, "base_url"})
"""Keys of an identity that differ between two servers of the same weights."""


@dataclass(frozen=True)
class StoredTarget:
    """Who answered for a target.

    Attributes:
        endpoint: What is known of the server; nothing is asked of it.
        fingerprint: What the answers are known by.
        notes: What a person should know: which answers do not count, and why.
    """

    endpoint: Endpoint
    fingerprint: Fingerprint
    notes: tuple[str, ...]


def stored_target(
    target: Target, store: Store, settings: Settings, benchmark: Benchmark
) -> StoredTarget:
    """Finds who answered for a target by the newest run that asked it; joins what agrees.

    Raises:
        MissingAnswersError: No run asked it.
    """
    entries = _distinct(store.entries(target.id, benchmark.name))
    if not entries:
        raise MissingAnswersError(
            f"the store {store.where} has no answer of it to {benchmark.name}, and --stored asks "
            "nothing",
            target=target.id,
            remedy=f"ask it: {worker_command(settings.describe())}",
        )
    newest, *others = entries
    mine = _sighting(store, newest)
    same, notes = [newest], []
    for entry in others:
        if not _of_one_kind(newest, entry):
            continue
        why = _other_weights(store, mine, entry)
        if why is None:
            same.append(entry)
        else:
            notes.append(f"answers that it gave as {_who(entry)} do not count: {why}")
    # A run that reaches the server takes the oldest observation, too.
    same.sort(key=lambda entry: seen.at if (seen := _sighting(store, entry)) else 0.0)
    made = [_fingerprint(entry, target, settings, benchmark) for entry in same]
    first, outdated = as_kept(made[0], store, benchmark.prompt_hash)
    for other in made[1:]:
        kept, _ = as_kept(other, store, benchmark.prompt_hash)
        if kept.hash != first.hash:
            store.take_over(kept.hash, first.hash, first.facts)
    return StoredTarget(_endpoint(same[0], target), first, (*outdated, *notes))


def _distinct(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries whose target answered as somebody else, the newest of each."""
    found: list[Mapping[str, Any]] = []
    for entry in entries:
        facts = entry.get("facts")
        if not isinstance(facts, dict) or not isinstance(facts.get("identity"), dict):
            continue
        if all(_who_answered(facts) != _who_answered(one) for one in found):
            found.append(facts)
    return found


def _who_answered(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return facts["model"], facts["identity"]


def _of_one_kind(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two identities may be of the same weights: all but the observation agrees."""
    plain = [
        {
            key: value
            for key, value in facts["identity"].items()
            # Where the weights were observed, their hash is a part of the observation.
            if key not in _OF_THE_SERVER and not (key == "weights" and SEEN in facts["identity"])
        }
        for facts in (one, other)
    ]
    return one["model"] == other["model"] and plain[0] == plain[1]


def _other_weights(store: Store, mine: Seen | None, other: Mapping[str, Any]) -> str | None:
    """Why an identity is of other weights than an observation is; None where it is of the same."""
    theirs = _sighting(store, other)
    if mine is None or theirs is None:
        # Weights that are known by their content agree already, and have no observation.
        return None if mine is theirs else "nothing was kept that would show its weights"
    return observation_of(mine.facts, mine.at).change_since(theirs.facts) or None


def _sighting(store: Store, facts: Mapping[str, Any]) -> Seen | None:
    name = facts["identity"].get(SEEN)
    return None if name is None else store.sighting(str(name))


def _endpoint(facts: Mapping[str, Any], target: Target) -> Endpoint:
    return Endpoint(
        target=target.id,
        base_url=str(facts["identity"].get("base_url") or "http://127.0.0.1/v1"),
        model=str(facts["model"]),
        engine="",
        identity=facts["identity"],
        known=True,
    )


def _fingerprint(
    facts: Mapping[str, Any], target: Target, settings: Settings, benchmark: Benchmark
) -> Fingerprint:
    return fingerprint(target, _endpoint(facts, target), settings, benchmark)


def _who(facts: Mapping[str, Any]) -> str:
    identity = facts["identity"]
    return " ".join(str(identity[key]) for key in ("base_url", SEEN) if identity.get(key))
