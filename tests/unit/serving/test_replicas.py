"""Several servers of one target: started, opened, compared, proven again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.vllm import Vllm, make_adapter
from tests.unit.serving.conftest import adapter_target, base_target

from capgate.common.errors import (
    AdapterError,
    CapgateError,
    ConfigError,
    DifferentReplicasError,
    RequestFault,
    ServerError,
)
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.start_replicas import devices_of
from capgate.serving.servers import Servers


def words(asked: dict[str, object]) -> str:
    """Some words for the prompts of the proof."""
    return f"so {len(str(asked['messages']))} it is"


@pytest.fixture
def pair() -> Iterator[tuple[Vllm, Vllm]]:
    """Two servers with the same weights."""
    with Vllm(answer=words) as one, Vllm(answer=words) as other:
        yield one, other


def opened(*servers: Vllm, adapters: tuple[Target, ...] = (), **keys: object) -> Servers:
    """The servers of a run that observes their weights."""
    base = base_target("http://127.0.0.1:1/v1", **keys)
    base = base.model_copy(update={"base_url": tuple(server.url for server in servers)})
    targets = {one.id: one for one in (base, *adapters)}
    return Servers(targets, {}, Path("logs"), say=lambda _: None, observe_weights=True)


def place(server: Vllm) -> str:
    """An endpoint's name."""
    return f"127.0.0.1:{server.port}"


def test_each_is_proven_by_itself(pair: tuple[Vllm, Vllm]) -> None:
    """The first stands for the target, the others beside it, each with its own signature."""
    endpoint = opened(*pair).endpoint("base")
    assert [one.place for one in endpoint.all] == [place(server) for server in pair]
    assert all(one.observation and one.observation.signature for one in endpoint.all)
    assert all(server.proofs for server in pair)
    assert not endpoint.notes


def test_other_weights_are_a_fault_that_names_both_and_what_differs() -> None:
    """Adapters of such a base can't be judged either."""
    with Vllm(answer=words) as one, Vllm(answer=words, weights="other") as other:
        servers = opened(one, other, adapters=(adapter_target("tuned", path="tuned"),))
        make_adapter(Path("tuned"))
        for target in ("base", "tuned"):
            with pytest.raises(DifferentReplicasError) as caught:
                servers.endpoint(target)
            said = str(caught.value)
            assert place(one) in said
            assert place(other) in said
            assert "its log-probabilities for the proof's prompts differ by" in said
        servers.close()


def test_without_log_probabilities_nothing_is_claimed(pair: tuple[Vllm, Vllm]) -> None:
    """The texts agree; a note says that this proves nothing."""
    for server in pair:
        server.max_logprobs = 0
    endpoint = opened(*pair).endpoint("base")
    (note,) = endpoint.notes
    assert note.startswith(f"nothing proves that {place(pair[1])} serves the same weights")


def test_other_texts_are_a_fault_where_there_is_nothing_else(pair: tuple[Vllm, Vllm]) -> None:
    """A server that repeats itself and writes other texts serves another model."""
    for server in pair:
        server.max_logprobs = 0
    pair[1].answer = lambda asked: f"no, {words(asked)}"
    with pytest.raises(DifferentReplicasError, match="100% of its answers"):
        opened(*pair).endpoint("base")


def test_a_fault_of_one_says_at_which(pair: tuple[Vllm, Vllm]) -> None:
    """A server that lacks the model, or has a smaller context, is no server of the target."""
    pair[1].models = ("another",)
    with pytest.raises(ConfigError, match=f"at its endpoint {place(pair[1])}: the server does not"):
        opened(*pair).endpoint("base")
    pair[1].models = pair[0].models
    with pytest.raises(ConfigError, match=f"at its endpoint {place(pair[0])}: it serves a context"):
        opened(*pair, context_window=4096).endpoint("base")


def test_one_that_is_away_is_left_out(pair: tuple[Vllm, Vllm]) -> None:
    """It is named, and may be proven later."""
    pair[0].stop()
    endpoint = opened(*pair).endpoint("base")
    assert [one.place for one in endpoint.all] == [place(pair[1])]
    assert [one.place for one in endpoint.absent] == [place(pair[0])]
    assert place(pair[0]) in endpoint.notes[0]
    pair[1].stop()
    with pytest.raises(RequestFault, match="none of its 2 endpoints answers"):
        opened(*pair).endpoint("base")


def test_an_adapter_that_one_refuses_is_its_own_fault(pair: tuple[Vllm, Vllm]) -> None:
    """The base is asked all the same."""
    make_adapter(Path("tuned"))
    pair[1].lora = False
    servers = opened(*pair, adapters=(adapter_target("tuned", path="tuned"),))
    assert len(servers.endpoint("base").all) == 2
    with pytest.raises(AdapterError, match=f"at its endpoint {place(pair[1])}"):
        servers.endpoint("tuned")
    servers.close()
    assert not any(server.adapters for server in pair)


def proven(servers: Servers, target: str, url: str, since: float) -> Endpoint:
    """Waits for a proof."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = servers.readmit(target, url, since)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("no proof came")


def test_one_that_is_back_is_proven_with_its_adapters(pair: tuple[Vllm, Vllm]) -> None:
    """It was started anew without the adapter, which is loaded again, and unloaded at the end."""
    make_adapter(Path("tuned"))
    servers = opened(*pair, adapters=(adapter_target("tuned", path="tuned"),))
    assert len(servers.endpoint("tuned").all) == 2
    pair[1].stop()
    pair[1].adapters.clear()
    since = time.time()
    with pytest.raises(RequestFault):
        proven(servers, "base", pair[1].url, since)
    pair[1].start()
    for target in ("base", "tuned"):
        assert proven(servers, target, pair[1].url, since).place == place(pair[1])
    assert len(pair[1].loads) == 2
    servers.close()
    assert not any(server.adapters for server in pair)


def test_one_that_is_back_with_other_weights_is_refused(pair: tuple[Vllm, Vllm]) -> None:
    """Its answers would count as the others'."""
    servers = opened(*pair)
    servers.endpoint("base")
    pair[1].weights = "other"
    with pytest.raises(DifferentReplicasError, match=place(pair[1])):
        proven(servers, "base", pair[1].url, time.time())


def test_an_earlier_proof_does_not_count(pair: tuple[Vllm, Vllm]) -> None:
    """A server that stopped a second time is proven a second time."""
    servers = opened(*pair)
    servers.endpoint("base")
    proven(servers, "base", pair[1].url, time.time())
    pair[1].weights = "other"
    with pytest.raises(CapgateError):
        proven(servers, "base", pair[1].url, time.time())


TWO = {"CUDA_VISIBLE_DEVICES": "2,5"}
VLLM = {"engine": "vllm", "model": "m"}
LLAMA = {"engine": "llamacpp", "model": "m.gguf"}


@pytest.mark.parametrize(
    ("serve", "environment", "gpus", "found"),
    [
        pytest.param(VLLM, {}, 4, ["0", "1"], id="one-each"),
        pytest.param(VLLM, TWO, 8, ["2", "5"], id="the-user's-are-dealt-out"),
        pytest.param(VLLM, {}, 0, [], id="no-gpu"),
        pytest.param(VLLM, {"CUDA_VISIBLE_DEVICES": ""}, 4, [], id="gpus-are-hidden"),
        pytest.param(
            {**VLLM, "env": {"CUDA_VISIBLE_DEVICES": "0"}}, {}, 4, [], id="the-entry-says-it"
        ),
        pytest.param(
            {**VLLM, "args": ["--tensor-parallel-size=2"]}, {}, 4, ["0,1", "2,3"], id="two-each"
        ),
        pytest.param(
            {**VLLM, "args": ["-tp", "2", "--pipeline_parallel_size", "2"]},
            {},
            8,
            ["0,1,2,3", "4,5,6,7"],
            id="four-each",
        ),
        pytest.param(LLAMA, {}, 2, ["0", "1"], id="llama-one-each"),
        pytest.param(LLAMA, {}, 1, [], id="llama-shares"),
    ],
)
def test_gpus_are_dealt_out(
    serve: dict[str, object], environment: dict[str, str], gpus: int, found: list[str]
) -> None:
    """Each of two servers gets its own, unless somebody has said otherwise."""
    target = Target.model_validate(
        {"id": "mine", "model_name": "m", "serve": {**serve, "replicas": 2}}
    )
    assert list(devices_of(target, environment, gpus)) == found


def test_too_few_gpus_are_told() -> None:
    """VLLM would fail minutes later, in words of its own."""
    serve = {**VLLM, "replicas": 3, "args": ["--tensor-parallel-size", "2"]}
    target = Target.model_validate({"id": "mine", "model_name": "m", "serve": serve})
    with pytest.raises(ServerError, match=r"3 replicas of 2 GPUs each need 6, and 4 can be used"):
        devices_of(target, {}, 4)
