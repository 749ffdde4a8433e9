"""Rows of stored or handed-in answers, judged as a run judges its own: benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.recorded import nouns_of
from capgate.config.benchmarks_file import asked_before
from capgate.gate.budget import Budget, benchmark_budget
from capgate.gate.decide_live import SequentialGate
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.groups import judged_domains
from capgate.gate.orders import BATCH
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, seeded_order
from capgate.gate.verdict import Verdict


@dataclass(frozen=True)
class Rules:
    """By which rules the answers to several benchmarks are judged.

    Attributes:
        policy: The target's (`Policy.for_target`).
        entries: The benchmarks that the project knows; rows may be of others.
        names: The benchmarks that are judged together.
        recorded: Benchmark to whether its run recorded it as advisory.
    """

    policy: Policy
    entries: Mapping[str, BenchmarkEntry]
    names: Sequence[str]
    recorded: Mapping[str, bool] = field(default_factory=dict)

    def is_advisory(self, name: str) -> bool:
        """Whether a benchmark is reported and never decides."""
        entry = self.entries.get(name)
        by_entry = self.recorded.get(name, False) if entry is None else entry.advisory
        return self.policy.is_advisory(name, by_entry)

    def asks_again(self, name: str) -> bool:
        """Whether one before it, which decides, asks the same questions in another form."""
        deciding = [one for one in self.names if not self.is_advisory(one)]
        before = takewhile(lambda one: one != name, deciding)
        return asked_before(name, before, self.entries)

    def parents(self, name: str) -> Mapping[str, str]:
        """Group to the parent that it belongs to, as the project knows it."""
        entry = self.entries.get(name)
        return {} if entry is None else entry.parent_of

    def of(self, name: str, parents: Mapping[str, str]) -> Policy:
        """The policy of one benchmark."""
        entry = self.entries.get(name)
        catch = None if entry is None else entry.catch
        return self.policy.for_benchmark(name, catch, parents=parents)

    def budget(
        self, name: str, groups: Sequence[str], parents: Mapping[str, str], *, quick: bool = False
    ) -> Budget:
        """How one benchmark's error shares are divided.

        Args:
            name: The benchmark's name.
            groups: The groups of its rows.
            parents: Group to the parent that it belongs to.
            quick: Whether its rows are looked at one after the other.
        """
        deciding = [one for one in self.names if not self.is_advisory(one)]
        return benchmark_budget(
            self.of(name, parents),
            1 if self.is_advisory(name) else len(deciding),
            groups=set(groups) != {name},
            parents=bool(judged_domains(groups, parents)),
            quick=quick,
        )


def judge_fixed(
    pairs: Sequence[Pair], rules: Rules, benchmark: str, parents: Mapping[str, str] | None = None
) -> Verdict:
    """Judges all rows of a benchmark.

    Args:
        pairs: The rows.
        rules: Of all benchmarks that are judged together.
        benchmark: The benchmark's name.
        parents: Group to the parent that it belongs to; as the project knows it where None.

    Raises:
        RowsError: The rows can't be judged.
    """
    parents = rules.parents(benchmark) if parents is None else parents
    groups = sorted({pair.subject for pair in pairs})
    return decide_fixed(
        pairs,
        rules.of(benchmark, parents),
        reference="baseline",
        domains=parents,
        budget=rules.budget(benchmark, groups, parents),
        nouns=nouns_of(benchmark),
    )


def judge_in_order(
    pairs: Sequence[Pair],
    rules: Rules,
    benchmark: str,
    parents: Mapping[str, str] | None = None,
    *,
    seed: int,
) -> Verdict:
    """Judges a benchmark's rows one batch after the other, until they suffice.

    Args:
        pairs: The rows.
        rules: Of all benchmarks that are judged together.
        benchmark: The benchmark's name.
        parents: Group to the parent that it belongs to; as the project knows it where None.
        seed: Of the rows' order.

    Raises:
        RowsError: The rows can't be judged.
    """
    parents = rules.parents(benchmark) if parents is None else parents
    by_question = {pair.question: pair for pair in pairs}
    order = [by_question[question] for question in seeded_order(by_question, seed=seed)]
    gate = SequentialGate(
        rules.of(benchmark, parents),
        population=len(pairs),
        seed=seed,
        reference="baseline",
        fixed_rule="use `--fixed`",
        budget=rules.budget(benchmark, [], parents, quick=True),
    )
    for start in range(0, len(order), BATCH):
        if gate.update(order[start : start + BATCH]) is not None:
            break
    return gate.finish("all rows were used")
