"""Which tasks can be run sample by sample, without Inspect's own evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.util import registry_info

from capgate.asking.inspect_backend.direct_sample import solvers_of
from capgate.asking.inspect_backend.messages import SETTINGS, is_text

DIRECT_SOLVERS: Final = frozenset(
    {
        *("generate", "multiple_choice", "chain_of_thought"),
        *("prompt_template", "system_message", "user_message", "assistant_message"),
        *("mmlu_multiple_choice", "mmlu_pro_system_message", "bbh_solver"),
    }
)
"""Inspect's and inspect_evals' solvers that change messages, and ask by `generate` alone."""

DIRECT_SCORERS: Final = frozenset(
    {
        *("choice", "match", "includes", "pattern", "answer", "exact", "f1"),
        *("bbh_scorer", "instruction_following"),
    }
)
"""Inspect's and inspect_evals' scorers that ask no model."""

_UPSTREAM: Final = frozenset({"inspect_ai", "inspect_evals"})
"""The packages whose solvers and scorers are known."""

_UNSET: Final = (
    *("setup", "cleanup", "sandbox", "approval", "early_stopping", "sample_source"),
    *("message_limit", "token_limit", "turn_limit", "time_limit", "working_limit", "cost_limit"),
    *("model_roles", "checkpoint", "review", "sentinel"),
)
"""What only an evaluation of Inspect's own does for a task."""


def why_no_text_is_enough(task: Task) -> str:
    """Why a model's text alone does not tell a task's scores; `""` where nothing says so.

    A solver or scorer that is a user's own may need more, too; it fails where it does.

    Args:
        task: The task, with the samples that were asked.
    """
    for setting in _UNSET:
        if getattr(task, setting, None):
            return f"it sets {setting}"
    return next(filter(None, map(_needs_more, task.dataset)), "")


def why_never_direct(task: Task) -> str:
    """Why no task of this kind can be asked question by question; `""` where it may be.

    Args:
        task: The task, with the samples that are to be asked.
    """
    if reason := why_no_text_is_enough(task):
        return reason
    if task.epochs not in (None, 1):
        return f"it asks each question in {task.epochs} epochs"
    settings = task.config.model_dump(exclude_none=True).keys() - SETTINGS
    return f"it sets {min(settings)} of the model's answers" if settings else ""


def why_not_direct(task: Task) -> str:
    """Why a task needs an evaluation of Inspect's own; `""` where it does not.

    A solver or scorer that is not known may do anything, so it does.

    Args:
        task: The task, with the samples that are to be asked.
    """
    if reason := why_never_direct(task):
        return reason
    if unknown := _unknown(solvers_of(task.solver), DIRECT_SOLVERS):
        return f"its solver {unknown} may ask more than once, or by itself"
    if unknown := _unknown(task.scorer or [], DIRECT_SCORERS):
        return f"its scorer {unknown} may ask a model"
    return ""


def _unknown(used: Iterable[object], known: frozenset[str]) -> str:
    """The first of some solvers or scorers that is not among those that are known."""
    for one in used:
        registered = registry_info(one).name
        # A registered name has no package where that is not installed in the usual way, and a
        # user's own file may use a known name.
        package = str(getattr(one, "__module__", "")).partition(".")[0]
        if package not in _UPSTREAM or registered.rpartition("/")[2] not in known:
            return registered
    return ""


def _needs_more(sample: Sample) -> str:
    if sample.sandbox or sample.files or sample.setup:
        return f"its sample {sample.id} has a sandbox or files"
    if not isinstance(sample.input, str) and not all(map(is_text, sample.input)):
        return f"its sample {sample.id} shows more than texts"
    return ""
