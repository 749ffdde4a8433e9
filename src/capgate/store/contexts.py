"""Under which fingerprint a store keeps the answers of a model that is asked in one way.

capgate 0.1 made fingerprints of the packages' versions as well, so one model may stand there
under several. They are found by their facts: what agrees in all that matters is one context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, NamedTuple

from capgate.store.comparable import Mismatch, how_asked, mismatch, same_model


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

    id: int
    fingerprint: str
    prompt: str
    facts: dict[str, Any]


def contexts_of_model(db: Connection, fingerprint: str, facts: Mapping[str, Any]) -> Sequence[Row]:
    """The contexts of the model that `facts` describe, newest first."""
    rows = db.execute(
        "SELECT id, fingerprint, prompt, facts FROM contexts WHERE "
        "CASE WHEN json_valid(facts) THEN json_extract(facts, '$.model') = ? END AND "
        "(fingerprint = ? OR EXISTS (SELECT 1 FROM answers WHERE context = contexts.id)) "
        "ORDER BY id DESC",
        (facts["model"], fingerprint),
    ).fetchall()
    found = [Row(number, name, prompt, json.loads(text)) for number, name, prompt, text in rows]
    return [
        row
        for row in found
        if same_model(row.facts, facts) and isinstance(row.facts.get("versions"), dict)
    ]


def keep_together(db: Connection, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Kept:
    """Finds the answers that count for a fingerprint, and puts them under one.

    Args:
        db: The store, in a transaction that may write.
        fingerprint: Of today.
        prompt: Hash of the prompt's form.
        facts: What the fingerprint was made from, as the store keeps it.
    """
    ours = how_asked(facts["versions"], prompt)
    same, others = [], []
    for row in contexts_of_model(db, fingerprint, facts):
        why = mismatch(ours, how_asked(row.facts["versions"], row.prompt))
        if why is None:
            same.append(row)
        elif _name(row.facts["versions"]) == _name(facts["versions"]):
            others.append(why)
    if not same:
        return Kept(fingerprint, others[0] if others else None)
    kept = next((row for row in same if row.fingerprint == fingerprint), same[0])
    for row in same:
        if row is not kept:
            db.execute("UPDATE answers SET context = ? WHERE context = ?", (kept.id, row.id))
    if "scorer" not in kept.facts["versions"]:
        # From now on it is known by what its scorer reads, which no later scorer may take over.
        versions = kept.facts["versions"] | {"scorer": ours["scorer"]}
        text = json.dumps(kept.facts | {"versions": versions}, sort_keys=True)
        db.execute("UPDATE contexts SET facts = ? WHERE id = ?", (text, kept.id))
    return Kept(kept.fingerprint)


def _name(versions: Mapping[str, Any]) -> str:
    return str(versions.get("task")).partition("@")[0]
