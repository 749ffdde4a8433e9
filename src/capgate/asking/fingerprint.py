"""Who answered, and under which settings: the identity that stored answers are found by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from capgate.benchmarks.mmlu.task import MmluTask
from capgate.benchmarks.mmlu.versions import hashed_versions
from capgate.common.errors import ConfigError
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.store.answer_store import Store


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
        """Makes a fingerprint from its facts; the packages' versions have no part in the hash."""
        hashed = facts | {"versions": hashed_versions(facts["versions"])}
        text = json.dumps(hashed, sort_keys=True, ensure_ascii=False)
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


def as_kept(made: Fingerprint, store: Store, prompt: str) -> tuple[Fingerprint, list[str]]:
    """The fingerprint under which a store has the same answers, and what is to be told of them.

    Args:
        made: By today's facts. A store of an earlier version may know them by another hash.
        store: Where answers are kept.
        prompt: Hash of the prompt's form.
    """
    kept = store.kept_under(made.hash, prompt, made.facts)
    lines = []
    if kept.outdated is not None:
        lines.append(
            "its stored answers are not used and it is asked anew, since they were made with "
            f"{kept.outdated.clause}"
        )
    return Fingerprint(kept.fingerprint, made.facts), lines


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
