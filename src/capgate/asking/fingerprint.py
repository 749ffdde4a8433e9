"""The identity by which stored answers are found: which model answered, and how it was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capgate.asking.completion_form import FORM, LIKELIHOOD_FORM, STOP
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.versions import hashed_versions
from capgate.common.errors import ConfigError
from capgate.config.settings import Settings
from capgate.config.target import ENGINES, AnswerFormat
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.vllm import is_cpu_build
from capgate.store.answer_store import Store


@dataclass(frozen=True)
class Fingerprint:
    """A hash of a target and of the way in which it is asked, with the facts behind it.

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
    target: Target, endpoint: Endpoint, settings: Settings, benchmark: Benchmark
) -> Fingerprint:
    """The fingerprint of a target's answers in a run.

    The address and key of a managed server are random and have no part in it. The server is
    identified by its weights, engine and flags.
    """
    facts = {
        "model": endpoint.model,
        "identity": dict(endpoint.identity),
        "generation": generation(target, settings, benchmark),
        "extra_body": target.extra_body,
        "route": target.route,
        "versions": benchmark.versions,
    }
    if benchmark.name != MMLU:
        # Fingerprints of MMLU stay those that were made before there were other benchmarks.
        facts["benchmark"] = benchmark.name
    return Fingerprint.of(facts)


def as_kept(made: Fingerprint, store: Store, prompt: str) -> tuple[Fingerprint, list[str]]:
    """The fingerprint under which a store has a target's answers, and lines for the user.

    Args:
        made: Made from today's facts. An earlier version may have stored them under another hash.
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
        given: The user's seed; None derives one from the fingerprint.
    """
    return int(fingerprint.hash[:8], 16) if given is None else given


def digest_of(*parts: str) -> str:
    """A short digest of some texts in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def generation(target: Target, settings: Settings, benchmark: Benchmark) -> dict[str, Any]:
    """The generation settings as fingerprints and results record them."""
    facts: dict[str, Any] = {
        "temperature": settings.temperature,
        "max_tokens": benchmark.max_tokens,
        "answer_format": answer_format(target, benchmark),
        "logprobs": target.logprobs,
    }
    if target.prompt_format == "completion":
        # Fingerprints of chats stay those that were made before there were completions.
        facts["prompt_format"] = f"completion@{FORM}"
    if target.answer_by == "loglikelihood":
        facts["answer_by"] = f"loglikelihood@{LIKELIHOOD_FORM}"
    return facts


def has_form(benchmark: Benchmark) -> bool:
    """Whether an engine can be made to answer a benchmark in form alone."""
    return any(benchmark.constraint(engine) is not None for engine in ENGINES)


def answer_format(target: Target, benchmark: Benchmark) -> AnswerFormat:
    """The form of a target's answers: no benchmark of free text has one to be constrained to."""
    return target.answer_format if has_form(benchmark) else "free"


def request_fields(target: Target, endpoint: Endpoint, benchmark: Benchmark) -> dict[str, Any]:
    """Further fields of each request: those of the target's entry, and those of its engine.

    Raises:
        ConfigError: The target asks for constrained answers, which its server does not support,
            or for completions of a benchmark whose answers are not letters, or for
            log-likelihoods that would end its server.
    """
    fields = endpoint.engine_fields | target.extra_body
    if target.route is not None:
        fields["provider"] = target.route
    if endpoint.salt:
        fields.setdefault("cache_salt", endpoint.salt)
    if target.prompt_format == "completion":
        if not has_form(benchmark):
            raise ConfigError(
                f"it asks for completions (prompt_format), and {benchmark.name} is no benchmark "
                "whose answers are letters",
                target=target.id,
                remedy="leave that benchmark out for it, or ask a target with a chat template",
            )
        if target.answer_by == "generation":
            fields.setdefault("stop", list(STOP))
        elif target.adapter_of and endpoint.engine == "vllm" and is_cpu_build(endpoint.version):
            raise ConfigError(
                "its server is vLLM's CPU build, whose engine ends where it is asked for a "
                "prompt's log-probabilities and may have adapters (seen in 0.32)",
                target=target.id,
                remedy="take answer_by out of its base's entry, or merge the adapter and serve the "
                "result as a target of its own",
            )
    if answer_format(target, benchmark) == "constrained":
        fields.update(_constraint(target, endpoint.engine, benchmark))
    return fields


def _constraint(target: Target, engine: str, benchmark: Benchmark) -> Mapping[str, Any]:
    fields = benchmark.constraint(engine)
    if fields is not None:
        return fields
    raise ConfigError(
        "it asks for constrained answers (answer_format), which only vLLM's and llama.cpp's "
        "servers are known to give",
        target=target.id,
        remedy="set model_type: vllm or llamacpp if it is one of them, or take answer_format out",
    )
