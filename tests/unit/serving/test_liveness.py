"""Whether an adapter does something, and whether it does it to its base as well."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doubles.vllm import Vllm
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.common.errors import AdapterError
from capgate.serving.adapters.liveness import check_live
from capgate.serving.endpoint import Endpoint

ADAPTERS = {"mine": "/srv/mine", "other": "/srv/other"}


def both(server: Vllm) -> tuple[Endpoint, Endpoint]:
    """A base and its adapter."""
    base = Endpoint("base", server.url, "smollm2", "vllm", {})
    return base, Endpoint("mine", server.url, "mine", "vllm", {})


def sentence(asked: dict[str, Any]) -> str:
    """An answer of several words that follows from the question."""
    return f"so {asked['messages'][-1]['content']} is what is asked of me"


def test_an_adapter_that_differs_is_live() -> None:
    """Other log-probabilities for the same text are enough."""
    with Vllm(adapters=ADAPTERS) as server:
        found = check_live(*both(server))
    assert found.by == "log-probabilities"
    assert found.difference > 0.01


def test_a_dead_adapter_is_told() -> None:
    """An adapter whose log-probabilities are its base's does nothing."""
    with Vllm(adapters=ADAPTERS, pull=0.0) as server, pytest.raises(AdapterError) as caught:
        check_live(*both(server))
    assert "does nothing: its log-probabilities are the base's" in str(caught.value)


def test_without_log_probabilities_texts_tell() -> None:
    """Under --max-logprobs 0 an adapter that writes something else is live."""
    tuned = lambda path, asked: f"{sentence(asked)} by {path}"  # noqa: E731
    with Vllm(adapters=ADAPTERS, max_logprobs=0, answer=sentence, tuned=tuned) as server:
        found = check_live(*both(server), together=True)
    assert found.by == "texts"
    assert not found.mixes


def test_a_dead_adapter_is_told_by_texts() -> None:
    """Under --max-logprobs 0 an adapter that writes what its base writes does nothing."""
    with Vllm(adapters=ADAPTERS, max_logprobs=0) as server, pytest.raises(AdapterError) as caught:
        check_live(*both(server))
    assert "its texts are the base's" in str(caught.value)
    assert "no log-probabilities" in str(caught.value)


def test_empty_texts_are_no_proof() -> None:
    """An adapter and a base that write nothing are not called alike: nothing was read."""
    with (
        Vllm(adapters=ADAPTERS, max_logprobs=0, answer=lambda _: "") as server,
        pytest.raises(AdapterError, match=r"nothing shows that the adapter is live.*empty texts"),
    ):
        check_live(*both(server))


@pytest.mark.parametrize("max_logprobs", [20, 0])
def test_a_server_that_mixes_is_found_out(max_logprobs: int) -> None:
    """A base that answers as its adapter does, when both are asked at once, is asked apart."""
    said: list[str] = []
    tuned = None if max_logprobs else lambda path, asked: f"{sentence(asked)} by {path}"
    with Vllm(
        adapters=ADAPTERS,
        mixes=True,
        seconds_per_token=0.005,
        max_logprobs=max_logprobs,
        answer=sentence,
        tuned=tuned,
    ) as server:
        targets = base_target(server.url), adapter_target("mine"), adapter_target("other")
        servers = servers_of(*targets, said=said)
        # Whichever is asked for first, all must know.
        endpoints = [servers.endpoint(name) for name in ("base", "mine", "other")]
        servers.close()
    assert all(endpoint.apart for endpoint in endpoints)
    assert any("one after the other" in line for line in said)


@pytest.mark.parametrize("jitter", [0.02, 0.3, 1.0])
def test_rounding_is_not_taken_for_mixing(jitter: float) -> None:
    """Log-probabilities that only move when requests are batched do not slow a run down."""
    with Vllm(adapters=ADAPTERS, jitter=jitter, answer=sentence, seconds_per_token=0.005) as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"))
        assert not servers.endpoint("base").apart
        servers.close()


def test_the_cpu_builds_mark_is_enough() -> None:
    """A server whose version says that it is a CPU build is asked apart without more ado."""
    with Vllm(adapters=ADAPTERS, version="0.32.0+cpu") as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"))
        assert servers.endpoint("base").apart
        assert servers.endpoint("mine").apart
        servers.close()


def test_the_proof_takes_a_handful_of_requests() -> None:
    """The proof costs no more than the questions of one small subject."""
    with Vllm(adapters=ADAPTERS) as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"))
        servers.endpoint("mine")
        servers.close()
        assert 0 < len(server.proofs) <= 20
