"""Who answered, and under which settings: the identity that stored answers are found by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from capgate.benchmarks.mmlu.task import MmluTask
from capgate.common.errors import ConfigError
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint


@dataclass(frozen=True)
class Fingerprint:
    """Hash and meaning of "this target, asked this way".

    Attributes:
        hash: 16 hex digits.
        facts: What it was made from, for people and for baselines.
    """

    hash: str
    facts: dict[str, Any]

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Fingerprint:
        """Makes a fingerprint from its facts."""
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        return cls(hashlib.sha256(text.encode()).hexdigest()[:16], facts)


def fingerprint(
    target: Target, endpoint: Endpoint, settings: Settings, mmlu_task: MmluTask
) -> Fingerprint:
    """The fingerprint of a target's answers in a run.

    The address and key of a managed server are random and thus left out; what it serves
    (weights, engine, flags) stands for it instead.
    """
    return Fingerprint.of(
        {
            "model": endpoint.model,
            "identity": dict(endpoint.identity),
            "generation": generation(target, settings),
            "extra_body": target.extra_body,
            "route": target.route,
            "versions": mmlu_task.versions,
        }
    )


def seed_of(fingerprint: Fingerprint, given: int | None) -> int:
    """The seed of a quick run's order of questions.

    Args:
        fingerprint: The candidate's.
        given: The seed that was asked for; None lets the fingerprint decide.
    """
    return int(fingerprint.hash[:8], 16) if given is None else given


def digest_of(*parts: str) -> str:
    """A short digest of some texts in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def generation(target: Target, settings: Settings) -> dict[str, Any]:
    """The generation settings as fingerprints and results record them."""
    return {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "answer_format": target.answer_format,
        "logprobs": target.logprobs,
    }


def request_fields(target: Target, endpoint: Endpoint) -> dict[str, Any]:
    """Further fields of each request: the target's own, and those its engine needs.

    Raises:
        ConfigError: The target asks for constrained answers and its server can't give them.
    """
    fields = dict(target.extra_body)
    if target.route is not None:
        fields["provider"] = target.route
    if endpoint.engine == "llamacpp":
        # A reused prompt cache changes temperature-0 answers from run to run.
        fields.setdefault("cache_prompt", False)
    if endpoint.salt:
        fields.setdefault("cache_salt", endpoint.salt)
    if target.answer_format == "constrained":
        fields.update(_constraint(target, endpoint.engine))
    return fields


def _constraint(target: Target, engine: str) -> dict[str, Any]:
    if engine == "llamacpp":
        return {"grammar": 'root ::= "ANSWER: " [A-D]'}
    if engine == "vllm":
        return {"structured_outputs": {"regex": "ANSWER: [ABCD]"}}
    raise ConfigError(
        "it asks for constrained answers (answer_format), which only vLLM's and llama.cpp's "
        "servers are known to give",
        target=target.id,
        remedy="set model_type: vllm or llamacpp if it is one of them, or take answer_format out",
    )
