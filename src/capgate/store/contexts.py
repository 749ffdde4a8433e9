"""Under which fingerprint a store keeps the answers of a model that is asked in one way.

capgate 0.1 made fingerprints of the packages' versions as well, so one model may stand there
under several. They are found by their facts: what agrees in all that matters is one context.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from capgate.store.comparable import Mismatch, how_asked, mismatch, same_model
from capgate.store.opened import OpenStore, facts_of
from capgate.store.tables import TABLE


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a store has the answers that count for a fingerprint.

    Attributes:
        fingerprint: The one they are kept under; the one asked for where there are none.
        outdated: Why the newest answers of the same model do not count, where none do.
    """

    fingerprint: str
    outdated: Mismatch | None = None


class Row(NamedTuple):
    """A context that has answers, or the one asked for."""

    id: bytes
    fingerprint: str
    prompt: str
    facts: dict[str, Any]


def contexts_of_model(
    store: OpenStore, fingerprint: str, facts: Mapping[str, Any]
) -> Sequence[Row]:
    """The contexts of the model that `facts` describe, newest first."""
    # What may be of the model: its name is one of the values. Below, all the facts are compared.
    name = json.dumps(facts["model"])
    for special in "!%_":
        name = name.replace(special, f"!{special}")
    rows = store.rows(
        "SELECT id, fingerprint, prompt, facts, made FROM contexts WHERE facts LIKE ? ESCAPE '!'",
        (f'%"model": {name}%',),
    )
    rows.sort(key=lambda row: (row[4], row[0]), reverse=True)
    found = []
    for number, name, prompt, text, _ in rows:
        # A damaged row hides no answers of others.
        with suppress(ValueError, RecursionError):
            found.append(Row(number, name, prompt, facts_of(text)))
    return [
        row
        for row in found
        if same_model(row.facts, facts)
        and isinstance(row.facts.get("versions"), dict)
        and (row.fingerprint == fingerprint or _has_answers(store, row.id))
    ]


def keep_together(
    store: OpenStore, fingerprint: str, prompt: str, facts: Mapping[str, Any]
) -> Kept:
    """Finds the answers that count for a fingerprint, and has them found under one.

    Args:
        store: The store, in a transaction.
        fingerprint: Of today.
        prompt: Hash of the prompt's form.
        facts: What the fingerprint was made from, as the store keeps it.
    """
    ours = how_asked(facts["versions"], prompt)
    same, others = [], []
    for row in contexts_of_model(store, fingerprint, facts):
        why = mismatch(ours, how_asked(row.facts["versions"], row.prompt))
        if why is None:
            same.append(row)
        elif _name(row.facts["versions"]) == _name(facts["versions"]):
            others.append(why)
    if not same:
        return Kept(fingerprint, others[0] if others else None)
    kept = next((row for row in same if row.fingerprint == fingerprint), same[0])
    take_over(store, [row.id for row in same if row is not kept], kept.id)
    if "scorer" not in kept.facts["versions"]:
        # From now on it is known by what its scorer reads, which no later scorer may take over.
        versions = kept.facts["versions"] | {"scorer": ours["scorer"]}
        with store.transaction() as db:
            db.execute(
                "UPDATE contexts SET facts = ? WHERE id = ?",
                (store.as_json(kept.facts | {"versions": versions}), kept.id),
            )
    return Kept(kept.fingerprint)


def take_over(store: OpenStore, contexts: Iterable[bytes], taker: bytes) -> None:
    """Has the answers of some contexts count for another one as well."""
    new = set(contexts) - contexts_for(store, taker)
    if new:
        with store.transaction() as db:
            db.executemany(
                TABLE["taken_over"].new(),
                [(context, taker) for context in sorted(new)],
            )


def contexts_for(store: OpenStore, taker: bytes) -> set[bytes]:
    """The contexts whose answers count for one: itself, and those that it has taken over."""
    found, new = {taker}, {taker}
    while new:
        marks = ",".join("?" * len(new))
        query = f"SELECT context FROM taken_over WHERE taker IN ({marks})"
        new = {row[0] for row in store.rows(query, sorted(new))} - found
        found |= new
    return found


def _has_answers(store: OpenStore, context: bytes) -> bool:
    return bool(store.rows("SELECT 1 FROM answers WHERE context = ? LIMIT 1", (context,)))


def _name(versions: Mapping[str, Any]) -> str:
    return str(versions.get("task")).partition("@")[0]
