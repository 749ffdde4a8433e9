"""What two logs of Inspect must share, and what may differ: settings of the task and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from capgate.logs.logged import without_addresses

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

_HOW_FAST: Final = frozenset(
    {
        "max_retries",
        "timeout",
        "attempt_timeout",
        "stream_idle_timeout",
        "max_connections",
        "adaptive_connections",
        "cache",
        "cache_prompt",
        "batch",
        "extra_headers",
        "logprobs",
        "top_logprobs",
        "prompt_logprobs",
        "seed",
    }
)
"""Settings of generation that do not change what is asked; a seed changes the draw alone."""

_LIMITS: Final = ("message_limit", "token_limit", "turn_limit", "time_limit", "working_limit")


def conditions_of(header: EvalLog) -> dict[str, Any]:
    """What two runs of a task must share.

    Args:
        header: A log without its samples.
    """
    spec, plan = header.eval, header.plan
    config = plan.config.model_dump(mode="json", exclude_none=True)
    config |= spec.model_generate_config.model_dump(mode="json", exclude_none=True)
    found: dict[str, Any] = {
        "task version": spec.task_version,
        "task arguments": spec.task_args,
        "solvers": [[step.solver, step.params] for step in plan.steps],
        "scorers": [[one.name, one.options] for one in spec.scorers or []],
    }
    found |= {
        name.replace("_", " "): value for name, value in config.items() if name not in _HOW_FAST
    }
    limits = {name.replace("_", " "): getattr(spec.config, name, None) for name in _LIMITS}
    found |= {name: value for name, value in limits.items() if value is not None}
    return {name: without_addresses(value) for name, value in found.items()}


def facts_of(header: EvalLog) -> dict[str, str]:
    """What may differ between two runs and is told.

    Args:
        header: A log without its samples.
    """
    found = dict(header.eval.packages)
    if (revision := header.eval.revision) is not None:
        found["revision"] = revision.commit
    return found
