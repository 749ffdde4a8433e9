"""A project with many adapters of one base, some of which have lost something."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import target

BASE = "taught"
GROUPS = ("apples", "pears", "plums")
SUMS = {
    f"A crate holds {a} {group} and {b} more are put in. How many {group} does it hold?": (
        group,
        a + b,
    )
    for at, group in enumerate(GROUPS)
    for a in range(20, 40)
    for b in range(3 + at, 13 + at)
}
RULES = {f"Rule {n}: may a parcel of {n} kilograms be sent?": n for n in range(2, 302)}
"""The questions of a second benchmark, which has no groups."""


@dataclass(frozen=True)
class Harm:
    """What an adapter has lost.

    Attributes:
        sums: Share of the sums that it answers wrong though the base has them right.
        group: The only group of which it lost any; `""` for all alike.
        rules: Share of the rules, likewise.
    """

    sums: float = 0.0
    group: str = ""
    rules: float = 0.0


@dataclass
class Sweeps:
    """The project.

    Attributes:
        root: Its folder.
        server: Serves the base, and loads the adapters.
        harms: Adapter's folder, as it is named, to what it has lost.
    """

    root: Path
    server: Vllm
    harms: dict[str, Harm] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, server: Vllm, **keys: object) -> Sweeps:
        """Writes the files; `keys` go into the base's entry."""
        (root / "config").mkdir(parents=True)
        (root / "data").mkdir()
        (root / "thresholds").mkdir()
        entry = target(server.url, **{"model_name": "smollm2", "max_connections": 32, **keys})
        (root / "config" / "models.yaml").write_text(yaml.safe_dump({BASE: entry}))
        (root / "config" / "benchmarks.yaml").write_text(
            "sums: {questions: data/sums.jsonl, catch: 0.08}\n"
            "rules: {questions: data/rules.jsonl, catch: 0.1}\n"
            "suites: {both: {benchmarks: [sums, rules], quick: true}}\n"
        )
        sums = [_row(text, key, group=group) for text, (group, key) in SUMS.items()]
        (root / "data" / "sums.jsonl").write_text("".join(sums))
        (root / "data" / "rules.jsonl").write_text("".join(_row(*one) for one in RULES.items()))
        made = cls(root, server)
        server.answer = made.base
        server.tuned = made.tuned
        return made

    def adapter(self, name: str, harm: Harm | None = None) -> str:
        """Makes an adapter in the project's folder; returns its name."""
        make_adapter(self.root / name, seed=len(self.harms))
        self.harms[name] = harm or Harm()
        return name

    def base(self, asked: dict[str, Any]) -> str:
        """What the base says: one question in ten is too hard for it."""
        found = question_of(asked)
        if found is None:
            return "ANSWER: A" if "ANSWER" in _content(asked) else "so it is"
        text, key = found
        return letter(key + (dice(text) < 0.1))

    def tuned(self, path: str, asked: dict[str, Any]) -> str:
        """What an adapter says: as its base, but for a few questions and what it has lost."""
        found = question_of(asked)
        if found is None:
            return "ANSWER: A" if "ANSWER" in _content(asked) else "so it was"
        text, key = found
        name = str(Path(path).relative_to(self.root.resolve()))
        harm = self.harms[name]
        share = harm.rules if text in RULES else harm.sums
        if text in SUMS and harm.group not in ("", SUMS[text][0]):
            share = 0.0
        too_hard = dice(text) < 0.1
        if dice(f"{text} {name}") < (0.1 if too_hard else 0.01):
            too_hard = not too_hard
        lost = dice(f"{name} {text} lost") < share
        return letter(key + (too_hard or lost))

    def asked(self, *others: Vllm) -> Mapping[str, Counter[str]]:
        """Path of an adapter, or `""` for the base, to how often it was asked each question.

        Args:
            others: Further servers that were asked.
        """
        servers = (self.server, *others)
        paths = {name: path for server in servers for name, path in server.loads}
        counts: dict[str, Counter[str]] = {}
        for chat in (chat for server in servers for chat in server.chats):
            found, model = question_of(chat.body), chat.body["model"]
            if found is not None:
                path = paths.get(model, "")
                name = str(Path(path).relative_to(self.root.resolve())) if path else ""
                counts.setdefault(name, Counter())[found[0]] += 1
        return counts

    def page(self) -> Path:
        """The newest sweep's page."""
        return max(self.root.glob("reports/*/sweep.html"), key=lambda path: path.stat().st_mtime_ns)


def question_of(asked: dict[str, Any]) -> tuple[str, int] | None:
    """The question that a request asks and its answer; None where it asks something else."""
    found = re.search(r"(A crate holds|Rule \d+:)[^?]+\?", _content(asked).replace("\n", " "))
    if found is None:
        return None
    text = re.search(r"(A crate holds.*it hold\?|Rule \d+:.*sent\?)", _content(asked))
    if text is None:
        return None
    return text[0], SUMS[text[0]][1] if text[0] in SUMS else RULES[text[0]]


def letter(key: int) -> str:
    """The answer that stands for a number."""
    return f"ANSWER: {'ABCD'[key % 4]}"


def dice(text: str) -> float:
    """A number from 0 to 1 that follows from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


def _content(asked: dict[str, Any]) -> str:
    return str(asked["messages"][-1]["content"])


def _row(text: str, key: int, **more: object) -> str:
    choices = [str(4 * (key // 4) + place) for place in range(4)]
    return (
        json.dumps({"question": text, "choices": choices, "answer": "ABCD"[key % 4], **more}) + "\n"
    )
