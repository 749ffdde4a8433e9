"""What upstream's MMLU is and does, as far as a run needs to know before it asks.

All of it is kept in the user's cache, so that upstream's module is imported where it changes.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from capgate.benchmarks.mmlu.reading import behaviour_hash, mmlu_scorer_hash, upstream_fact
from capgate.benchmarks.without_model import sent_by, unasked

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample


class Version(NamedTuple):
    """Which MMLU it is.

    Attributes:
        comparability: The version within which its results can be compared.
        metadata: What its tasks' logs say of the version.
        revision: The commit of the data set that it loads.
    """

    comparability: Any
    metadata: dict[str, Any]
    revision: str


@cache
def upstream_version() -> Version:
    """Which MMLU is installed."""
    return Version(*upstream_fact("mmlu-version", _find_version))


def _find_version() -> Version:
    from inspect_evals.mmlu.mmlu import EVAL_VERSION, MMLU_REVISION

    return Version(EVAL_VERSION.comparability_version, EVAL_VERSION.to_metadata(), MMLU_REVISION)


@cache
def rendered_probe(max_tokens: int) -> list[list[str]]:
    """The messages that upstream's solver sends for a fixed question, and an example's form."""
    render = partial(_render_probe, max_tokens)
    rendered: list[list[str]] = upstream_fact("mmlu-prompt", render, about=str(max_tokens))
    return rendered


def _render_probe(max_tokens: int) -> list[list[str]]:
    from inspect_evals.mmlu.mmlu import format_mmlu_question, mmlu_multiple_choice

    probe = _probe()
    sent, _ = sent_by(mmlu_multiple_choice(max_non_cot_tokens=max_tokens), probe)
    # The form of the few-shot examples; their text is part of each question's own hash.
    return [*sent, ["example", format_mmlu_question(str(probe.input), unasked(probe).choices)]]


@cache
def only_calls_inspects(max_tokens: int) -> bool:
    """Whether upstream's solver asks and reads as the `multiple_choice` that it makes."""
    compare = partial(_compare_solvers, max_tokens)
    return bool(upstream_fact("mmlu-calls", compare, about=str(max_tokens)))


def _compare_solvers(max_tokens: int) -> bool:
    from inspect_ai.scorer import choice
    from inspect_ai.solver import multiple_choice
    from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

    theirs = mmlu_multiple_choice(max_non_cot_tokens=max_tokens)
    plain = multiple_choice(cot=False, max_tokens=max_tokens)
    probe = _probe()
    asked_alike = sent_by(theirs, probe) == sent_by(plain, probe)
    return asked_alike and behaviour_hash(plain, choice()) == mmlu_scorer_hash()


def _probe() -> Sample:
    from inspect_ai.dataset import Sample

    return Sample(
        id="probe",
        input="⟨question⟩",
        choices=["⟨a⟩", "⟨b⟩", "⟨c⟩", "⟨d⟩"],
        target="A",
    )
