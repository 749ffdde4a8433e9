"""How an adapter gets onto a server, what tells it from others, and how it leaves again."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.doubles.vllm import REPOSITORY, Vllm, make_adapter
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.client.replies import ServedModel
from capgate.common.errors import AdapterError, CapgateError, RequestFault
from capgate.config.targets import Target
from capgate.serving.adapters.leases import Lease
from capgate.serving.adapters.lora_requests import load, unload
from capgate.serving.adapters.served_names import loaded_as
from capgate.serving.adapters.sources import find_source
from capgate.serving.endpoint import Endpoint
from capgate.serving.servers import Servers


def opened(server: Vllm, target: Target, **keys: object) -> Endpoint:
    """The adapter's endpoint in a run of its own."""
    servers = servers_of(base_target(server.url, **keys), target)
    try:
        return servers.endpoint(target.id)
    finally:
        servers.close()


def refused(server: Vllm, target: Target) -> AdapterError:
    """Why the adapter can't be had."""
    with pytest.raises(AdapterError) as caught:
        opened(server, target)
    return caught.value


def test_a_folder_is_loaded_and_unloaded(home: Path) -> None:
    """A folder is loaded under a name that ends in its content's hash, for as long as the run."""
    folder = make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"))
        endpoint = servers.endpoint("mine")
        digest = str(endpoint.identity["adapter_digest"])
        assert server.adapters == {endpoint.model: str(folder)}
        assert endpoint.model == f"mine-{digest[:10]}"
        assert not endpoint.salt
        servers.close()
        assert server.adapters == {}


def test_equal_content_is_one_identity(home: Path) -> None:
    """The store's answers are found again for the same content, and not for another."""
    make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        first = opened(server, adapter_target("mine"))
        again = opened(server, adapter_target("mine"))
        make_adapter(home / "adapters" / "mine", seed=1)
        other = opened(server, adapter_target("mine"))
    assert first.identity == again.identity
    assert first.identity != other.identity


@pytest.mark.parametrize("readable", [True, False])
def test_others_adapter_is_asked_anew(home: Path, readable: bool) -> None:
    """What others loaded may have been exchanged under its name: no run takes another's answers."""
    folder = str(make_adapter(home / "theirs")) if readable else "/srv/adapters/mine"
    with Vllm(adapters={"mine": folder}) as server:
        first = opened(server, adapter_target("mine"))
        again = opened(server, adapter_target("mine"))
        assert server.adapters == {"mine": folder}
    assert first.identity != again.identity
    assert first.salt != again.salt


def test_a_name_that_carries_the_hash_is_trusted(home: Path) -> None:
    """Of an adapter that capgate loaded under its content's hash the answers are kept."""
    folder = make_adapter(home / "mine")
    source = find_source("mine", str(folder), target="mine")
    name = source.served_name("mine")
    with Vllm(adapters={name: str(folder)}) as server:
        first, again = (opened(server, adapter_target(name)) for _ in range(2))
        make_adapter(folder, seed=1)
        overwritten = opened(server, adapter_target(name))
    assert first.identity == again.identity
    assert "adapter_digest" not in overwritten.identity


def test_the_servers_own_path_is_sent_as_it_is() -> None:
    """An absolute path that is not on this machine is the server's to read."""
    path = "/srv/adapters/mine"
    with Vllm(reads=[path]) as server:
        target = adapter_target("mine", path=path)
        first, again = opened(server, target), opened(server, target)
        assert [loaded for _, loaded in server.loads] == [path, path]
        assert server.adapters == {}
        assert first.identity != again.identity
        assert first.model != again.model
        error = refused(server, adapter_target("lost", path="/srv/adapters/lost"))
    assert "the server finds no adapter at /srv/adapters/lost" in str(error)
    assert "the server's own machine" in str(error)


@pytest.mark.parametrize("path", ["adapters/lost", "./lost", "lost", "~/lost", "a/b/c"])
def test_a_missing_folder_is_told(home: Path, path: str) -> None:
    """A relative path that is nowhere is not taken for a name on the hub."""
    make_adapter(home / "adapters" / "other")
    with Vllm(adapters={"theirs": "/srv/theirs"}) as server:
        error = refused(server, adapter_target("mine", path=path))
        assert not server.load_asked.is_set()
    assert f"there is no adapter {path!r}" in str(error)
    assert "on the server: theirs; in adapters/: other" in error.said


def hub_adapter(cache: Path, seed: int, commit: str) -> Path:
    """Puts an adapter into the hub's cache, as `main`."""
    repository = cache / "models--org--mine"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return make_adapter(repository / "snapshots" / commit, seed, base="org/other")


def test_a_hub_adapter_is_known_by_its_commit(tmp_path: Path, home: Path) -> None:
    """Without a revision the hub's newest commit is found out first and goes into the name."""
    cache = tmp_path / "hub"
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from tests.unit.serving.conftest import *\n"
        "run = servers_of(base_target(sys.argv[1]), adapter_target('mine', path='org/mine'))\n"
        "try:\n"
        "    one = run.endpoint('mine')\n"
        "    print(json.dumps([one.model, dict(one.identity)]))\n"
        "except Exception as error: print(json.dumps([str(error), {}]))\n"
        "finally: run.close()\n"
    )

    def opened_from_hub(server: Vllm) -> tuple[str, dict[str, str]]:
        done = subprocess.run(
            [sys.executable, "-c", program, server.url],
            env={
                "HF_HUB_CACHE": str(cache),
                "HF_HUB_OFFLINE": "1",
                "HOME": str(home),
                "PYTHONPATH": str(REPOSITORY),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        name, identity = json.loads(done.stdout)
        return name, identity

    first, second = "a" * 40, "b" * 40
    snapshot = hub_adapter(cache, 0, first)
    with Vllm() as server:
        name, identity = opened_from_hub(server)
        assert name == f"mine-{first[:10]}"
        assert identity["adapter"] == f"org/mine@{first}"
        assert server.loads == [(name, str(snapshot))]
        hub_adapter(cache, 1, second)
        assert opened_from_hub(server)[0] == f"mine-{second[:10]}"
    # One on another machine can't read this one's cache, and takes whatever `main` is there.
    with Vllm(reads=["org/mine"], shares_disk=False) as server:
        name, identity = opened_from_hub(server)
        assert server.loads == [(name, "org/mine")]
        assert identity["adapter_nonce"]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", True),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", True),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", True),
        ("models/llama-3.1", True),
        ("../out/llama", False),
        ("META-LLAMA/Llama-3.1-8B-Instruct", False),
    ],
)
def test_the_name_of_another_base_is_a_hint(home: Path, base: str, told: bool) -> None:
    """An adapter that names its base otherwise than the server does is loaded and proven live."""
    make_adapter(home / "adapters" / "mine", base=base)
    said: list[str] = []
    with Vllm(root="meta-llama/Llama-3.1-8B-Instruct") as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"), said=said)
        endpoint = servers.endpoint("mine")
        assert server.adapters
        servers.close()
    hint = f"names the base {base}, and the server serves meta-llama/Llama-3.1-8B-Instruct"
    assert [hint in note for note in endpoint.notes] == [True] * told
    assert said == [f"mine: {note}" for note in endpoint.notes]


def test_the_hint_stands_beside_a_failed_proof(home: Path) -> None:
    """Where such an adapter changes nothing, the fault names both bases."""
    make_adapter(home / "adapters" / "mine", base="org/other")
    with Vllm(root="org/base", pull=0.0) as server:
        error = refused(server, adapter_target("mine"))
    assert "does nothing" in str(error)
    assert "names the base org/other, and the server serves org/base" in str(error)


@pytest.mark.parametrize(
    ("facts", "feature"),
    [
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, "modules_to_save (embed_tokens, lm_h"),
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"modules_to_save": ["lm_head"], "use_dora": True}, "modules_to_save (lm_head) and DoRA"),
    ],
)
def test_what_vllm_does_not_serve_is_not_loaded(
    home: Path, facts: dict[str, object], feature: str
) -> None:
    """What adapter_config.json says is enough to send the user to merged weights."""
    folder = make_adapter(home / "adapters" / "mine")
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | facts))
    with Vllm() as server:
        error = refused(server, adapter_target("mine"))
        assert not server.load_asked.is_set()
    assert "vLLM can't serve this adapter" in error.what
    assert feature in error.what
    assert "judge the merged weights" in error.remedy
    assert "capgate parity" in error.remedy


@pytest.mark.parametrize(
    "facts",
    [
        {"modules_to_save": None, "use_dora": False, "bias": "none", "use_rslora": True},
        {"modules_to_save": ["score"], "layer_replication": None},
    ],
)
def test_what_vllm_serves_is_loaded(home: Path, facts: dict[str, object]) -> None:
    """Keys of adapter_config.json that name nothing special stop no adapter."""
    config = make_adapter(home / "adapters" / "mine") / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | facts))
    with Vllm() as server:
        assert opened(server, adapter_target("mine")).model.startswith("mine-")


def test_a_list_without_parents(home: Path) -> None:
    """An adapter that is listed without its base is judged where its answers differ from it."""
    make_adapter(home / "adapters" / "loaded")
    with Vllm(adapters={"mine": "/srv/mine"}, parents=False) as server:
        endpoint = opened(server, adapter_target("mine"))
        assert opened(server, adapter_target("loaded")).model.startswith("loaded-")
        assert server.unloads == [name for name, _ in server.loads]
    assert endpoint.model == "mine"
    assert "does not say which model mine is an adapter of" in endpoint.notes[0]
    with Vllm(adapters={"mine": "/srv/mine"}, parents=False, pull=0.0) as server:
        assert "does nothing" in str(refused(server, adapter_target("mine")))


def test_any_of_the_bases_names_will_do() -> None:
    """A base that is served under several names has its adapters under each of them."""
    adapters = {"mine": "/srv/mine"}
    with Vllm(names=("first", "smollm2"), adapters=adapters) as server:
        assert opened(server, adapter_target("mine")).model == "mine"


def test_an_adapter_of_another_served_base_is_told() -> None:
    """The base itself is no adapter, by none of its names, and the message says so."""
    with Vllm(names=("smollm2", "alias")) as server:
        error = refused(server, adapter_target("smollm2"))
        alias = refused(server, adapter_target("alias"))
    assert "as an adapter of nothing: a base model" in str(error)
    assert "as an adapter of nothing: a base model" in str(alias)


def test_run_time_loading_off(home: Path) -> None:
    """A server without the route for it says how it must be started."""
    make_adapter(home / "adapters" / "mine")
    with Vllm(run_time=False) as server:
        error = refused(server, adapter_target("mine"))
    assert "can't load adapters at run time" in str(error)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in error.remedy


def test_a_server_without_lora(home: Path) -> None:
    """A server that was started without LoRA is told so."""
    make_adapter(home / "adapters" / "mine")
    with Vllm(lora=False) as server:
        error = refused(server, adapter_target("mine"))
        assert server.unloads == []
    assert "was started without LoRA" in str(error)


def test_a_wrong_key_is_told(home: Path) -> None:
    """A server that does not accept the key says so when an adapter is to be loaded, too."""
    folder = make_adapter(home / "mine")
    with Vllm(key="the-right-key-123") as server:
        base = Endpoint("base", server.url, "smollm2", "vllm", {}, key="the-wrong-key-456")
        source = find_source("mine", str(folder), target="mine")
        with pytest.raises(RequestFault) as caught:
            load(base, source, target="mine", name="mine")
    assert caught.value.kind == "unauthorized"
    assert "the-wrong-key" not in str(caught.value)


def test_no_proxy_for_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment sees nothing of a server on this machine."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        assert opened(server, adapter_target("mine")).model.startswith("mine-")


def test_a_failed_proof_leaves_nothing(home: Path) -> None:
    """An adapter that turns out to be dead is unloaded with the run."""
    make_adapter(home / "adapters" / "mine")
    with Vllm(pull=0.0) as server:
        assert "does nothing" in str(refused(server, adapter_target("mine")))
        assert len(server.loads) == 1
        assert server.adapters == {}


def test_two_runs_share_an_adapter(home: Path) -> None:
    """It is loaded by the first and unloaded by the last of them."""
    make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        one, two = (servers_of(base_target(server.url), adapter_target("mine")) for _ in range(2))
        assert one.endpoint("mine").model == two.endpoint("mine").model
        assert len(server.loads) == 1
        one.close()
        assert len(server.adapters) == 1
        two.close()
        assert server.adapters == {}


def test_what_others_loaded_is_left(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on another machine that has the same adapter loaded keeps it."""
    make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        there = servers_of(base_target(server.url), adapter_target("mine"))
        there.endpoint("mine")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
        opened(server, adapter_target("mine"))
        assert len(server.adapters) == 1
        there.close()
        assert server.adapters == {}


def test_what_a_killed_run_left_is_cleared(home: Path) -> None:
    """The next run of the same adapter unloads what a killed one had loaded."""
    make_adapter(home / "adapters" / "mine")
    program = (
        "import os, sys\n"
        "from tests.unit.serving.conftest import *\n"
        "run = servers_of(base_target(sys.argv[1]), adapter_target('mine'))\n"
        "run.endpoint('mine')\n"
        "os._exit(9)\n"
    )
    with Vllm() as server:
        command = [sys.executable, "-c", program, server.url]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        assert subprocess.run(command, env=environment, check=False).returncode == 9
        assert len(server.adapters) == 1
        opened(server, adapter_target("mine"))
        assert server.adapters == {}
        assert len(server.loads) == 1


def test_a_run_that_ends_while_it_loads(home: Path) -> None:
    """What is still loading when the run is closed is unloaded as soon as it can be."""
    make_adapter(home / "adapters" / "mine")
    with Vllm() as server:
        server.may_load.clear()
        servers = servers_of(base_target(server.url), adapter_target("mine"))
        ended: list[CapgateError] = []

        def ask() -> None:
            try:
                servers.endpoint("mine")
            except CapgateError as error:
                ended.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert server.load_asked.wait(10)
        closing = threading.Thread(target=servers.close)
        closing.start()
        server.may_load.set()
        closing.join(30)
        asking.join(30)
        assert len(server.loads) == 1
        assert server.adapters == {}
    assert "the run is over" in str(ended[0])


def test_what_could_not_be_unloaded_is_told(home: Path) -> None:
    """One line names the adapter that a server may still hold; a server that is gone holds none."""
    make_adapter(home / "adapters" / "mine")
    said: list[str] = []
    with Vllm() as server:
        servers = servers_of(base_target(server.url), adapter_target("mine"), said=said)
        name = servers.endpoint("mine").model
        server.key = "another-key-12345"
        servers.close()
        assert len(said) == 1
        assert f"{name} may still be loaded at {server.url}" in said[0]
        server.key = ""
        gone = servers_of(base_target(server.url), adapter_target("mine"), said=said)
        gone.endpoint("mine")
    gone.close()
    assert len(said) == 1


def test_unloading_by_hand_says_what_is_not_there() -> None:
    """Unloading an adapter that the server does not have is a fault, in the server's words."""
    with Vllm() as server:
        base = Endpoint("base", server.url, "smollm2", "vllm", {})
        with pytest.raises(AdapterError, match="cannot be found"):
            unload(base, "nope")


def test_the_next_run_unloads_what_a_killed_one_left(home: Path) -> None:
    """An adapter of a run that was killed leaves the server with the next run of any other."""
    lost = make_adapter(home / "adapters" / "lost")
    make_adapter(home / "adapters" / "mine", seed=1)
    said: list[str] = []
    with Vllm() as server:
        lease = Lease(server.url, "lost-0123456789")
        lease.claim()
        server.adapters["lost-0123456789"] = str(lost)
        del lease
        gc.collect()
        targets = {"base": base_target(server.url), "mine": adapter_target("mine")}
        servers = Servers(targets, {}, Path("logs"), say=said.append, observe_weights=True)
        servers.endpoint("mine")
        assert len(server.adapters) == 1
        servers.close()
        assert server.adapters == {}
    assert any("unloaded lost-0123456789, which a run that was killed" in line for line in said)


def test_an_adapter_is_unloaded_by_its_plain_name() -> None:
    """Who unloads an adapter by hand need not know the hash in its name."""
    base = Endpoint("base", "http://127.0.0.1:1/v1", "smollm2", "vllm", {})

    def served(*names: str) -> list[ServedModel]:
        return [ServedModel("smollm2"), *(ServedModel(name, parent="smollm2") for name in names)]

    assert loaded_as("mine", base, served("mine-0123456789", "mine-too")) == "mine-0123456789"
    assert loaded_as("mine", base, served("mine", "mine-0123456789")) == "mine"
    assert loaded_as("mine", base, served()) == "mine"
    with pytest.raises(AdapterError) as caught:
        loaded_as("mine", base, served("mine-0123456789", "mine-abcdef0123"))
    assert "the server has 2 adapters mine" in str(caught.value)
